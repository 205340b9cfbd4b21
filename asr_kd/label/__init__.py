"""The teacher labels unlabelled shards: selection, quantisation, soft-target sidecars."""
