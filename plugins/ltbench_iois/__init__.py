"""Iterative online image synthesis: the accuracy-adaptive quota, the re-sampling control and the methods."""

from typing import Any

import ltbench

CITE = "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the sampler, the control generator and the methods."""
    registry.add(
        "sampler",
        "accuracy-adaptive",
        "ltbench_iois.accuracy_adaptive:AccuracyAdaptive",
        summary="A new pool every epoch, more synthetic images for classes of low training accuracy",
        cite=CITE,
    )
    registry.add(
        "generator",
        "real-copies",
        "ltbench_iois.copies:RealCopies",
        summary="Copies of real training images: the re-sampling control of every generator",
    )
    for id, name, summary in [
        ("iois", "IOIS", "Online synthesis guided by the classifier in training, accuracy-adaptive counts"),
        ("iois-xt", "IOIS_XT", "iois with the guidance gradient taken at the noisy image"),
        (
            "iois-as-released",
            "IOIS_AS_RELEASED",
            "iois as the authors' code runs it: class-conditional, guided at x_t, quota from validation too",
        ),
        ("iois-ois", "IOIS_OIS", "iois with equal counts per class"),
        ("iois-offline", "IOIS_OFFLINE", "One pool guided by a trained reference classifier, equal counts"),
        ("iois-unguided", "IOIS_UNGUIDED", "iois without guidance: labels are only assigned (control)"),
        ("oversample-matched", "OVERSAMPLE_MATCHED", "iois with copies of real images as pool (control)"),
    ]:
        registry.add("method", id, f"ltbench_iois.methods:{name}", summary=summary, cite=CITE)
