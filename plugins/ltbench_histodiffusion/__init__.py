"""HistoDiffusion: latent diffusion pre-trained without labels, guided by a noise-aware classifier."""

from typing import Any

import ltbench

CITE = "Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the generator."""
    registry.add(
        "generator",
        "histodiffusion",
        "ltbench_histodiffusion.generator:HistoDiffusion",
        summary="Latent diffusion pre-trained without labels, led to a class by a noise-aware classifier",
        cite=CITE,
    )
