"""A grid of systems on one corpus, trained, measured and put into one table."""
