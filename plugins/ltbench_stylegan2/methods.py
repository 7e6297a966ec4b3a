"""The method that fills the training set once with images of StyleGAN2-ADA, as a plain recipe.

fidelity: where each value comes from, "paper", "code" (a reference release) or "assumed" (neither says).
"""

from typing import Any

STYLEGAN2_ADA: dict[str, Any] = {
    "classifier": "standard",
    "loss": "ce",
    "sampler": {"name": "fixed-quota", "total": "@protocol.synthetic_total", "ratio": "@protocol.synthetic_ratio"},
    "generator": "stylegan2-ada",
    "fidelity": {
        "method": "paper",
        "classifier.name": "paper",
        "loss.name": "paper",
        "sampler.total": "assumed",
        "sampler.ratio": "assumed",
        "generator.name": "paper",
        "generator.kimg": "assumed",
        "generator.label_power": "code",
        "generator.ada_target": "paper",
        "generator.ada_ceiling": "assumed",
        "generator.ada_kimg": "assumed",
        "generator.pipeline": "assumed",
        "generator.snapshot_kimg": "assumed",
        "generator.truncation": "assumed",
    },
}
