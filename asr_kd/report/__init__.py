"""Scores told to people: results.json, report.html of one run, RESULTS.md of several."""
