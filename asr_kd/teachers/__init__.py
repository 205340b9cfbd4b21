"""Models that are only run: ensembles, wav2vec 2.0, Whisper, inference and eight-bit kernels."""
