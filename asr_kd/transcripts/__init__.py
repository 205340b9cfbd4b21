"""What was recognised in a shard, by whom, and which utterances are kept."""
