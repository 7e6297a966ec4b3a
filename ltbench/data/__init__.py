"""Image tables, splits and augmentation."""
