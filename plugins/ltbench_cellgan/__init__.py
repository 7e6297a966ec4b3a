"""CellGAN."""
