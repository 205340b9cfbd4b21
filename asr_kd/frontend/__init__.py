"""From waves to what models read: filter banks, mean subtraction, stacking, augmentation."""
