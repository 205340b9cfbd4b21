"""Recordings of any length -> segments: offsets in a manifest."""
