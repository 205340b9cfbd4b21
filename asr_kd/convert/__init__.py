"""Manifests, transcripts and shards -> the forms of Kaldi, lhotse, NeMo, Hugging Face and spreadsheets."""
