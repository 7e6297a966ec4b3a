"""Long-tail systems: methods that need more than a loss or a sampler."""

from typing import Any

import ltbench

SYSTEMS = [
    (
        "ncl",
        "ncl:NCL",
        "NCL",
        "Several experts learn alone, on hard classes and from each other; their mean predicts",
        "Li et al. 2022, Nested Collaborative Learning for Long-Tailed Visual Recognition, CVPR",
    ),
    (
        "glmc",
        "glmc:GLMC",
        "GLMC",
        "MixUp and CutMix of natural and weighted batches must agree; learning moves to a re-balanced head",
        "Du F. et al. 2023, Global and Local Mixture Consistency Cumulative Learning for Long-Tailed Visual "
        "Recognitions, CVPR",
    ),
    (
        "proco-vmf",
        "proco_vmf:ProCoVMF",
        "PROCO_VMF",
        "Contrast with von Mises-Fisher class distributions in closed form, logit-adjusted",
        "Du C. et al. 2024, Probabilistic Contrastive Learning for Long-Tailed Visual Recognition, TPAMI",
    ),
    (
        "proco-proto",
        "proco_proto:ProCoProto",
        "PROCO_PROTO",
        "Contrast with a labelled queue, re-calibrated prototypes and adversarial proto-instances",
        "Yang et al. 2022, ProCo: Prototype-aware Contrastive Learning for Long-tailed Medical Image Classification, "
        "MICCAI",
    ),
    (
        "cl-supcon",
        "cl_supcon:CLSupCon",
        "CL_SUPCON",
        "Supervised contrast on balanced batches, then a linear head on the frozen encoder",
        "Marrakchi et al. 2021, Fighting Class Imbalance with Contrastive Learning, MICCAI",
    ),
    (
        "lift",
        "lift:Lift",
        "LIFT",
        "Frozen pre-trained ViT, small modules beside its MLPs, cosine head, logit adjustment",
        "Shi et al. 2024, Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts, ICML",
    ),
    (
        "gmic",
        "gmic:GMIC",
        "GMIC",
        "A global network finds regions, a local one looks at them, attention and fusion decide",
        "Shen et al. 2021, An interpretable classifier for high-resolution breast cancer screening images, MedIA",
    ),
    (
        "mtl",
        "mtl:MultiTask",
        "MTL",
        "A second head learns body site, a coarse label or rotation beside the class",
        "Liao and Luo 2018, A Deep Multi-task Learning Approach to Skin Lesion Classification",
    ),
    (
        "danil",
        "danil:Danil",
        "DANIL",
        "Cross-entropy and a term that parts the response of the class from that of its distractor",
        "Gong et al. 2020, Distractor-Aware Neuron Intrinsic Learning for Generic 2D Medical Image Classifications",
    ),
]
SAMPLERS = [
    ("paired", "glmc:Paired", "Every image once, beside as many drawn with P ~ n^-rho: twice the images a step"),
    ("balanced-batches", "cl_supcon:BalancedBatches", "The same number of images of every class in each batch"),
]


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the systems, each as a classifier and as the method of the same id."""
    for id, target, recipe, summary, cite in SYSTEMS:
        registry.add("classifier", id, f"ltbench_longtail.{target}", summary=summary, cite=cite)
        registry.add("method", id, f"ltbench_longtail.methods:{recipe}", summary=summary, cite=cite)
    for id, target, summary in SAMPLERS:
        registry.add("sampler", id, f"ltbench_longtail.{target}", summary=summary)
