"""Audio inside other files: members of tars, rows of Parquet and Arrow, entries of Kaldi archives."""
