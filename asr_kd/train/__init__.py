"""Batches, targets, losses and the one training loop."""
