"""Losses that see logits and targets, and the methods that differ in nothing else."""

import ltbench


@ltbench.hookimpl
def ltbench_register(registry):  # type: ignore[no-untyped-def]
    registry.add("loss", "ce", "ltbench_losses.ce:CrossEntropy", summary="cross-entropy, optional label smoothing")
    registry.add(
        "loss",
        "focal",
        "ltbench_losses.focal:Focal",
        summary="cross-entropy times (1 - p)^gamma",
        cite="Lin et al. 2017, Focal Loss for Dense Object Detection",
    )
    registry.add("method", "ce", "ltbench_losses.methods:CE", summary="cross-entropy, natural sampling, no synthesis")
    registry.add(
        "method",
        "focal",
        "ltbench_losses.methods:FOCAL",
        summary="focal loss, softmax form",
        cite="Lin et al. 2017, Focal Loss for Dense Object Detection",
    )
