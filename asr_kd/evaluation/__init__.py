"""Hypotheses against references: word and character errors, bootstrap intervals, paired tests, recovery."""
