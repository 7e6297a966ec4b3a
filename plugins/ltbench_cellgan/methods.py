"""The method that fills the training set once with images of CellGAN, as a plain recipe.

fidelity: where each value comes from, "paper", "code" (the authors' release) or "assumed" (neither says).
"""

from typing import Any

CELLGAN: dict[str, Any] = {
    "classifier": "standard",
    "loss": "ce",
    "sampler": {"name": "fixed-quota", "total": "@protocol.synthetic_total", "ratio": "@protocol.synthetic_ratio"},
    "generator": "cellgan",
    "fidelity": {
        "method": "paper",
        "classifier.name": "paper",
        "loss.name": "paper",
        "sampler.total": "assumed",
        "sampler.ratio": "assumed",
        "generator.name": "paper",
        "generator.kimg": "assumed",
        "generator.train_batch": "code",
        "generator.label_power": "code",
        "generator.context": "paper",
        "generator.class_norm": "code",
        "generator.start_gain": "code",
        "generator.r1": "code",
        "generator.r1_every": "assumed",
        "generator.misaligned_crops": "assumed",
        "generator.stale_average": "assumed",
        "generator.snapshot_kimg": "assumed",
    },
}
