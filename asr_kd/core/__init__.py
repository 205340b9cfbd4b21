"""Foundations that know nothing of speech: files that appear whole, configs, progress, devices."""
