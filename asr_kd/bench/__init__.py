"""What the machine gives: measured rates, and what a corpus of any size will take at them."""
