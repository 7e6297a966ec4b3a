"""StyleGAN2 and StyleGAN2 with adaptive discriminator augmentation."""

from typing import Any

import ltbench

STYLEGAN2 = "Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, CVPR"
ADA = "Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, NeurIPS"
IOIS = "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the two generators and the row of the IOIS comparison."""
    registry.add(
        "generator",
        "stylegan2",
        "ltbench_stylegan2.generator:StyleGAN2",
        summary="Class-conditional StyleGAN2 with a projection discriminator, best snapshot kept",
        cite=STYLEGAN2,
    )
    registry.add(
        "generator",
        "stylegan2-ada",
        "ltbench_stylegan2.generator:StyleGAN2ADA",
        summary="stylegan2 with adaptive discriminator augmentation, for small training sets",
        cite=ADA,
    )
    registry.add(
        "method",
        "stylegan2-ada",
        "ltbench_stylegan2.methods:STYLEGAN2_ADA",
        summary="One pool of StyleGAN2-ADA images, equal counts per class",
        cite=f"{ADA}; as compared by {IOIS}",
    )
