"""Diffusion generators and offline methods."""

from typing import Any

import ltbench

DDPM = (
    "Ho et al. 2020, Denoising Diffusion Probabilistic Models, NeurIPS; "
    "Ho and Salimans 2022, Classifier-Free Diffusion Guidance, arXiv:2207.12598"
)
EDM = "Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS"
LDM = "Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, CVPR"
MGDM = "Luo et al. 2024, Measurement Guidance in Diffusion Models: Insight from Medical Image Synthesis, TPAMI"
SKIN_SDM = (
    "Patcharapimpisut and Khanarsa 2024, Generating Synthetic Images Using Stable Diffusion Model "
    "for Skin Lesion Classification, KST"
)


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the diffusion generators and the methods that use them offline."""
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
        cite=DDPM,
    )
    registry.add(
        "generator",
        "edm",
        "ltbench_diffusion.edm:EDM",
        summary="Class-conditional pixel diffusion with the preconditioning and Heun sampler of EDM",
        cite=EDM,
    )
    registry.add(
        "generator",
        "mgdm",
        "ltbench_diffusion.mgdm:MGDM",
        summary="Images of a diffusion model moved towards uncertainty of a noise-aware classifier",
        cite=MGDM,
    )
    registry.add(
        "generator",
        "skin-sdm",
        "ltbench_diffusion.skin_sdm:SkinSDM",
        summary="Stable Diffusion from local weights, fine-tuned and told the class by a prompt",
        cite=SKIN_SDM,
    )
    registry.add(
        "generator",
        "ldm",
        "ltbench_diffusion.ldm:LDM",
        summary="Class-conditional diffusion in the latents of an autoencoder fitted to the training images",
        cite=LDM,
    )
    registry.add(
        "generator",
        "skin-sdm-scratch",
        "ltbench_diffusion.ldm:SkinSDMScratch",
        summary="The stand-in for skin-sdm without weights: a latent diffusion model from scratch, no text prior",
        cite=SKIN_SDM,
    )
    for id, name, summary, cite in [
        ("ddpm-offline", "DDPM_OFFLINE", "One pool of a class-conditional pixel diffusion model, equal counts", DDPM),
        ("edm-offline", "EDM_OFFLINE", "One pool of a class-conditional EDM, equal counts", EDM),
        ("ldm-offline", "LDM_OFFLINE", "One pool of a class-conditional latent diffusion model, equal counts", LDM),
        ("mgdm", "MGDM", "One pool of images made uncertain for a noise-aware classifier, equal counts", MGDM),
        ("skin-sdm", "SKIN_SDM", "One pool of fine-tuned Stable Diffusion from local weights, equal counts", SKIN_SDM),
        ("skin-sdm-scratch", "SKIN_SDM_SCRATCH", "skin-sdm without pre-trained weights: another method", SKIN_SDM),
    ]:
        registry.add("method", id, f"ltbench_diffusion.methods:{name}", summary=summary, cite=cite)
