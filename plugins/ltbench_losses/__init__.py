"""Losses that see logits and targets, and the methods that differ in nothing else."""

from typing import Any

import ltbench

LIN = "Lin et al. 2017, Focal Loss for Dense Object Detection, ICCV"
ZHANG = "Zhang et al. 2021, Distribution Alignment: A Unified Framework for Long-tail Visual Recognition, CVPR"
CUI = "Cui et al. 2019, Class-Balanced Loss Based on Effective Number of Samples, CVPR"
REN = "Ren et al. 2020, Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS"
MENON = "Menon et al. 2021, Long-tail learning via logit adjustment, ICLR"
CAO = "Cao et al. 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS"
SHRIVASTAVA = "Shrivastava et al. 2016, Training Region-based Object Detectors with Online Hard Example Mining, CVPR"
TAN = "Tan et al. 2020, Equalization Loss for Long-Tailed Object Recognition, CVPR"
TAN2 = "Tan et al. 2021, Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection, CVPR"

LOSSES = [
    ("ce", "ce:CrossEntropy", "cross-entropy, optional label smoothing", ""),
    ("weighted-ce", "weighted_ce:WeightedCrossEntropy", "cross-entropy with weights ~ n^-rho", ZHANG),
    ("focal", "focal:Focal", "cross-entropy times (1 - p)^gamma", LIN),
    ("cb-ce", "class_balanced:ClassBalancedCE", "cross-entropy weighted by the effective number of samples", CUI),
    ("cb-focal", "class_balanced:ClassBalancedFocal", "focal loss weighted by the effective number of samples", CUI),
    ("balanced-softmax", "logit_adjustment:BalancedSoftmax", "cross-entropy of z + log n, prediction by z", REN),
    (
        "logit-adjustment",
        "logit_adjustment:LogitAdjustment",
        "cross-entropy of z + tau log pi, prediction by z",
        MENON,
    ),
    (
        "logit-adjustment-posthoc",
        "logit_adjustment:PostHocLogitAdjustment",
        "cross-entropy, prediction by z - tau log pi",
        MENON,
    ),
    ("ldam", "ldam:LDAM", "scaled cosines with a margin ~ n^(-1/4) at the true class", CAO),
    ("drw", "drw:DRW", "another loss, class-balanced weights in the last epochs", CAO),
    ("ohem", "ohem:OHEM", "cross-entropy of the hardest samples of each batch", SHRIVASTAVA),
    ("eql", "eql:EQL", "cross-entropy without the terms that suppress tail classes", TAN),
    ("eqlv2", "eqlv2:EQLv2", "binary cross-entropies weighted by the gradients a class has seen", TAN2),
]
METHODS = [
    ("ce", "CE", "cross-entropy, natural sampling, no synthesis", ""),
    ("weighted-ce", "WEIGHTED_CE", "cross-entropy weighted by the inverse class frequency", ZHANG),
    ("focal", "FOCAL", "focal loss, softmax form", LIN),
    ("cb-ce", "CB_CE", "class-balanced cross-entropy", CUI),
    ("cb-focal", "CB_FOCAL", "class-balanced focal loss, sigmoid form", CUI),
    ("balanced-softmax", "BALANCED_SOFTMAX", "balanced softmax", REN),
    ("logit-adjustment", "LOGIT_ADJUSTMENT", "logit adjustment in training", MENON),
    ("logit-adjustment-posthoc", "LOGIT_ADJUSTMENT_POSTHOC", "logit adjustment of the prediction alone", MENON),
    ("ldam", "LDAM", "label-distribution-aware margins, cosine classifier", CAO),
    ("ldam-drw", "LDAM_DRW", "label-distribution-aware margins with deferred re-weighting", CAO),
    ("drw", "DRW", "cross-entropy with deferred re-weighting", CAO),
    ("ohem", "OHEM", "online hard example mining among the images of a batch", SHRIVASTAVA),
    ("eql", "EQL", "equalization loss, softmax form", TAN),
    ("eqlv2", "EQLV2", "equalization loss v2", TAN2),
]


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the losses and the methods named after them."""
    for id, target, summary, cite in LOSSES:
        registry.add("loss", id, f"ltbench_losses.{target}", summary=summary, cite=cite)
    for id, name, summary, cite in METHODS:
        registry.add("method", id, f"ltbench_losses.methods:{name}", summary=summary, cite=cite)
