"""What one machine with a GPU does: is it right, how fast does it label and train, and where does the time go."""
