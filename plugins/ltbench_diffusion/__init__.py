"""Diffusion generators."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the guided diffusion generator."""
    registry.add(
        "generator",
        "guided-ddpm",
        "ltbench_diffusion.guided:GuidedDDPM",
        summary="Pixel diffusion steered towards a class by the gradient of a classifier",
        cite="Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, NeurIPS; "
        "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI",
    )
