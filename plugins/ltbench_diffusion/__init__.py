"""Diffusion generators."""

from typing import Any

import ltbench

SKIN_SDM = (
    "Patcharapimpisut and Khanarsa 2024, Generating Synthetic Images Using Stable Diffusion Model "
    "for Skin Lesion Classification, KST"
)


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the diffusion generators."""
    registry.add(
        "generator",
        "guided-ddpm",
        "ltbench_diffusion.guided:GuidedDDPM",
        summary="Pixel diffusion steered towards a class by the gradient of a classifier",
        cite="Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, NeurIPS; "
        "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI",
    )
    registry.add(
        "generator",
        "ddpm",
        "ltbench_diffusion.ddpm:DDPM",
        summary="Class-conditional pixel diffusion with classifier-free guidance",
        cite="Ho et al. 2020, Denoising Diffusion Probabilistic Models, NeurIPS; "
        "Ho and Salimans 2022, Classifier-Free Diffusion Guidance, arXiv:2207.12598",
    )
    registry.add(
        "generator",
        "edm",
        "ltbench_diffusion.edm:EDM",
        summary="Class-conditional pixel diffusion with the preconditioning and Heun sampler of EDM",
        cite="Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS",
    )
    registry.add(
        "generator",
        "mgdm",
        "ltbench_diffusion.mgdm:MGDM",
        summary="Images of a diffusion model moved towards uncertainty of a noise-aware classifier",
        cite="Luo et al. 2024, Measurement Guidance in Diffusion Models: Insight from Medical Image Synthesis, TPAMI",
    )
    registry.add(
        "generator",
        "skin-sdm",
        "ltbench_diffusion.skin_sdm:SkinSDM",
        summary="Stable Diffusion from local weights, fine-tuned and told the class by a prompt",
        cite=SKIN_SDM,
    )
