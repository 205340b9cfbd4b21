"""From waves to what models read: filter banks, causal mean, stacking, augmentation."""
