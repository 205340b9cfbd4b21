"""What is learned from a shard: frame targets, alignments, soft targets and their sidecar files."""
