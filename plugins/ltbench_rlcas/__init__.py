"""Learned class-adaptive sampling over a pool of sketch-aware synthetic images, with its ablations and controls."""

from typing import Any

import ltbench

CITE = "Subtyping Breast Lesions via Generative Augmentation based Long-tailed Recognition in Ultrasound, MICCAI 2025"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the samplers, the generator and the methods."""
    registry.add(
        "sampler",
        "rl-cas",
        "ltbench_rlcas.sampler:RLCAS",
        summary="Agents learn how many synthetic images of each class join every batch; the best of K epochs is kept",
        cite=CITE,
    )
    registry.add(
        "sampler",
        "mixed-batches",
        "ltbench_rlcas.mixing:MixedBatches",
        summary="Real batches with a fixed number of images of the pool behind them, whatever their class",
        cite=CITE,
    )
    registry.add(
        "generator",
        "synclass",
        "ltbench_rlcas.synclass:SynClass",
        summary="Class-conditional latent diffusion (pixels below 64 px) that may learn to predict sketches as well",
        cite=CITE,
    )
    for id, name, summary in [
        ("rl-cas", "RL_CAS", "SynClass with sketches, learned class-adaptive sampling, balanced softmax"),
        ("synclass", "SYNCLASS", "Two images of SynClass of each class in every batch"),
        ("synclass-sketch", "SYNCLASS_SKETCH", "synclass with the sketch branch in training"),
        ("synclass-resample", "SYNCLASS_RESAMPLE", "A SynClass pool with more images of classes of high loss"),
        ("synclass-rl-cas", "SYNCLASS_RL_CAS", "rl-cas without the sketch branch"),
        ("bestofk-uniform", "BESTOFK_UNIFORM", "rl-cas with random moves: best of K, nothing learned (control)"),
        ("bestofk-fixed", "BESTOFK_FIXED", "Best of K shuffles of the fixed mix (control)"),
        ("rl-cas-equal-compute", "EQUAL_COMPUTE", "The fixed mix, as many gradient steps as rl-cas (control)"),
        ("rl-cas-real-copies", "REAL_COPIES", "rl-cas with copies of real images as pool (control)"),
    ]:
        registry.add("method", id, f"ltbench_rlcas.methods:{name}", summary=summary, cite=CITE)
