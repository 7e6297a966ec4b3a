"""HistoDiffusion: latent diffusion pre-trained without labels, guided by a noise-aware classifier."""

from typing import Any

import ltbench

CITE = "Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the generator and the methods."""
    registry.add(
        "generator",
        "histodiffusion",
        "ltbench_histodiffusion.generator:HistoDiffusion",
        summary="Latent diffusion pre-trained without labels, led to a class by a noise-aware classifier",
        cite=CITE,
    )
    for variant, words in _VARIANTS.items():
        for kind, percent in (("random", 50), *(("selective", percent) for percent in (50, 100, 200, 300))):
            id = f"histodiffusion-{variant}{kind}-{percent}"
            name = id.removeprefix("histodiffusion-").replace("-", "_").upper()
            registry.add(
                "method",
                id,
                f"ltbench_histodiffusion.methods:{name}",
                summary=f"{percent} % of the real images from HistoDiffusion{words}, {_HOW[kind]}",
                cite=CITE,
            )


_VARIANTS = {"": "", "no-finetune-": " with its decoder as pre-trained", "no-pretrain-": " without unlabelled images"}
_HOW = {"random": "as they come", "selective": "nearest to their own class centroid"}
