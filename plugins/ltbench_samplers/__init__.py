"""Samplers that follow class frequencies, and fixed quotas of synthetic images."""

from typing import Any

import ltbench

KANG = "Kang et al. 2020, Decoupling representation and classifier for long-tailed recognition, ICLR"
MAHAJAN = "Mahajan et al. 2018, Exploring the Limits of Weakly Supervised Pretraining, ECCV"
CAO = "Cao et al. 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS"
YANG = "Yang et al. 2023, FreeMask: Synthetic Images with Dense Annotations Make Stronger Segmentation Models, NeurIPS"
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
    registry.add(
        "sampler",
        "repeat-factor",
        f"{module}.repeat_factor:RepeatFactor",
        summary="Classes below a share of the images repeated, the others left as they are",
        cite=MAHAJAN,
    )
    registry.add(
        "sampler",
        "deferred",
        f"{module}.deferred:Deferred",
        summary="One sampler first, another in the last epochs",
        cite=CAO,
    )
    registry.add(
        "sampler",
        "freemask",
        f"{module}.freemask:FreeMask",
        summary="One pool of synthetic images, more for classes of high training loss",
        cite=YANG,
    )
    for id, name, summary, cite in [
        ("repeat-factor", "REPEAT_FACTOR", "Cross-entropy under the repeat-factor sampler", MAHAJAN),
        ("drs", "DRS", "Cross-entropy, class-balanced sampling in the last fifth of the epochs", CAO),
        ("freemask", "FREEMASK", "Cross-entropy, one synthetic pool, more images for harder classes", YANG),
    ]:
        registry.add("method", id, f"{module}.methods:{name}", summary=summary, cite=cite)
    for id, name in [("sqrt", "SQRT"), ("class-balanced", "CLASS_BALANCED"), ("progressive", "PROGRESSIVE")]:
        summary = f"Cross-entropy under the {id} sampler"
        registry.add("method", id, f"{module}.methods:{name}", summary=summary, cite=KANG)
