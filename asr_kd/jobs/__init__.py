"""Work on shards, each exactly once: processes of one machine, several machines, or Ray."""
