"""Acoustic models: encoders, presets, checkpoints, and a model at work."""
