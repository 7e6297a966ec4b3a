"""Selective synthetic augmentation around any generator."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the wrapping generator."""
    registry.add(
        "generator",
        "selective",
        "ltbench_selective.selective:Selective",
        summary="Another generator's images, kept where their nearest class centroid is their own",
        cite="Xue et al. 2021, Selective synthetic augmentation with HistoGAN for improved histopathology image "
        "classification, Medical Image Analysis; Ye et al. 2023, Synthetic Augmentation with Large-scale "
        "Unconditional Pre-training, MICCAI",
    )
