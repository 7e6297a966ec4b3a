"""Protocols: everything that must be equal for two methods to be comparable."""

import ltbench

_IOIS = "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification"


@ltbench.hookimpl
def ltbench_register(registry):  # type: ignore[no-untyped-def]
    where = "ltbench_protocols.protocols"
    registry.add("protocol", "quick", f"{where}:QUICK", summary="minutes on two CPU cores, from scratch, no download")
    registry.add(
        "protocol", "standard", f"{where}:STANDARD", summary="128 px, MobileNetV2 with ImageNet weights, one GPU"
    )
    registry.add(
        "protocol", "standard-scratch", f"{where}:STANDARD_SCRATCH", summary="128 px, ResNet-18 from scratch, one GPU"
    )
    registry.add("protocol", "iois2024", f"{where}:IOIS2024", summary="the IOIS paper's training", cite=_IOIS)
    registry.add(
        "protocol",
        "iois2024-as-released",
        f"{where}:IOIS2024_AS_RELEASED",
        summary="the same on the released 80/20 split, whose validation part is the test part",
        cite=_IOIS,
    )
    registry.add(
        "protocol",
        "breast2025",
        f"{where}:BREAST2025",
        summary="the RL-CAS paper's training, as far as it is stated",
        cite="Subtyping Breast Lesions via Generative Augmentation based Long-tailed Recognition in Ultrasound, 2025",
    )
    registry.add(
        "protocol",
        "diffmic2023",
        f"{where}:DIFFMIC2023",
        summary="the DiffMIC paper's training on its released split, a tenth of the training part for validation",
        cite="Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification",
    )
    registry.add(
        "protocol",
        "diffmic2023-as-released",
        f"{where}:DIFFMIC2023_AS_RELEASED",
        summary="the same, selected by accuracy on the released test part, as the release does",
        cite="Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification",
    )
    registry.add(
        "protocol",
        "histodiffusion2023",
        f"{where}:HISTODIFFUSION2023",
        summary="the HistoDiffusion paper's training, a few labels; a part of them for validation",
        cite="Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI",
    )
