"""StyleGAN2 and its adaptive augmentation."""
