"""Distillation losses, one a file; `registry` has their names."""
