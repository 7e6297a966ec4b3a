"""CellGAN."""

from typing import Any

import ltbench

CITE = (
    "Shen et al. 2023, CellGAN: Conditional Cervical Cell Synthesis for Augmenting Cytopathological Image "
    "Classification, MICCAI"
)
IOIS = "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the generator and the row of the IOIS comparison."""
    registry.add(
        "generator",
        "cellgan",
        "ltbench_cellgan.generator:CellGAN",
        summary="Light class-conditional adversarial network with global context and self-supervised discriminator",
        cite=CITE,
    )
    registry.add(
        "method",
        "cellgan",
        "ltbench_cellgan.methods:CELLGAN",
        summary="One pool of CellGAN images, equal counts per class",
        cite=f"{CITE}; as compared by {IOIS}",
    )
