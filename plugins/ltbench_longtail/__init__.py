"""Long-tail systems: methods that need more than a loss or a sampler."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the systems, each as a classifier and as the method of the same id."""
    for id, target, summary, cite in [
        (
            "lift",
            "lift:Lift",
            "Frozen pre-trained ViT, small modules beside its MLPs, cosine head, logit adjustment",
            "Shi et al. 2024, Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts, ICML",
        ),
        (
            "gmic",
            "gmic:GMIC",
            "A global network finds regions, a local one looks at them, attention and fusion decide",
            "Shen et al. 2021, An interpretable classifier for high-resolution breast cancer screening images, MedIA",
        ),
        (
            "mtl",
            "mtl:MultiTask",
            "A second head learns body site, a coarse label or rotation beside the class",
            "Liao and Luo 2018, A Deep Multi-task Learning Approach to Skin Lesion Classification",
        ),
        (
            "danil",
            "danil:Danil",
            "Cross-entropy and a term that parts the response of the class from that of its distractor",
            "Gong et al. 2020, Distractor-Aware Neuron Intrinsic Learning for Generic 2D Medical Image Classifications",
        ),
    ]:
        registry.add("classifier", id, f"ltbench_longtail.{target}", summary=summary, cite=cite)
        registry.add("method", id, f"ltbench_longtail.methods:{id.upper()}", summary=summary, cite=cite)
