"""Samplers that follow class frequencies, and the fixed quota of synthetic images."""

from typing import Any

import ltbench

KANG = "Kang et al. 2020, Decoupling representation and classifier for long-tailed recognition, ICLR"
IOIS = "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the samplers and the methods named after them."""
    module = "ltbench_samplers"
    registry.add("sampler", "instance", f"{module}.power:Instance", summary="Every image once an epoch, shuffled")
    registry.add("sampler", "power", f"{module}.power:Power", summary="Classes drawn with P ~ n^q", cite=KANG)
    registry.add("sampler", "sqrt", f"{module}.power:Sqrt", summary="Square-root re-sampling, P ~ sqrt(n)", cite=KANG)
    registry.add(
        "sampler", "class-balanced", f"{module}.power:ClassBalanced", summary="Every class equally often", cite=KANG
    )
    registry.add(
        "sampler",
        "progressive",
        f"{module}.progressive:Progressive",
        summary="From instance to class-balanced, linearly over the epochs",
        cite=KANG,
    )
    registry.add(
        "sampler",
        "fixed-quota",
        f"{module}.fixed_quota:FixedQuota",
        summary="One pool of synthetic images for all epochs, equal counts per class",
        cite=IOIS,
    )
    for id, name in [("sqrt", "SQRT"), ("class-balanced", "CLASS_BALANCED"), ("progressive", "PROGRESSIVE")]:
        summary = f"Cross-entropy under the {id} sampler"
        registry.add("method", id, f"{module}.methods:{name}", summary=summary, cite=KANG)
