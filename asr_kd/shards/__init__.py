"""WebDataset tars with an index, and the per-frame sidecars that belong to them."""
