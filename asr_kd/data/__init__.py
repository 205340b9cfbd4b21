"""Training sets, batches and their loader."""
