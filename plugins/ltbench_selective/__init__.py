"""Selective synthetic augmentation around any generator, and the rows that select among a GAN's images."""

from typing import Any

import ltbench

CITE = "Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the wrapping generator and the methods."""
    registry.add(
        "generator",
        "selective",
        "ltbench_selective.selective:Selective",
        summary="Another generator's images, kept where their nearest class centroid is their own",
        cite="Xue et al. 2021, Selective synthetic augmentation with HistoGAN for improved histopathology image "
        f"classification, Medical Image Analysis; {CITE}",
    )
    for kind, percent in (("random", 50), *(("selective", percent) for percent in (50, 100, 200, 300))):
        registry.add(
            "method",
            f"stylegan2-{kind}-{percent}",
            f"ltbench_selective.methods:STYLEGAN2_{kind.upper()}_{percent}",
            summary=f"{percent} % of the real images from StyleGAN2, {_HOW[kind]}",
            cite=CITE,
        )


_HOW = {"random": "as they come", "selective": "nearest to their own class centroid"}
