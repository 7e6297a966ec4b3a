"""The systems as plain recipes.

fidelity: where each value comes from, "paper", "code" (the authors' release), "assumed" (neither says) or "control".
"""

from typing import Any

NCL: dict[str, Any] = {
    "classifier": "ncl",
    "sampler": "instance",
    "fidelity": {
        "classifier.experts": "paper",
        "classifier.hard": "paper",
        "classifier.hcm": "paper",
        "classifier.distil": "paper",
        "classifier.with_contrastive": "assumed",
        "classifier.queue": "code",
        "classifier.dim": "code",
        "classifier.temperature": "code",
        "classifier.momentum": "code",
    },
}
GLMC: dict[str, Any] = {
    "classifier": "glmc",
    "sampler": "paired",
    "fidelity": {
        "classifier.beta": "code",
        "classifier.label_weighting": "code",
        "classifier.consistency": "assumed",
        "classifier.dim": "code",
        "classifier.projection_norm": "assumed",
        "classifier.exact_area": "code",
        "sampler.resample_weighting": "code",
    },
}
PROCO_VMF: dict[str, Any] = {
    "classifier": "proco-vmf",
    "sampler": "instance",
    "fidelity": {
        "classifier.dim": "paper",
        "classifier.hidden": "paper",
        "classifier.temperature": "paper",
        "classifier.alpha": "paper",
    },
}
PROCO_PROTO: dict[str, Any] = {
    "classifier": "proco-proto",
    "loss": "ce",
    "sampler": "instance",
    "fidelity": {
        "method": "assumed",
        "classifier.dim": "code",
        "classifier.temperature": "code",
        "classifier.queue": "assumed",
        "classifier.momentum": "code",
        "classifier.proto_momentum": "assumed",
        "classifier.hard": "assumed",
        "classifier.recalibrate": "assumed",
        "classifier.contrast": "assumed",
    },
}
CL_SUPCON: dict[str, Any] = {
    "classifier": "cl-supcon",
    "loss": "ce",
    "sampler": "balanced-batches",
    "fidelity": {
        "classifier.temperature": "paper",
        "classifier.base_temperature": "assumed",
        "classifier.dim": "assumed",
        "classifier.head_epochs": "paper",
        "classifier.head_rate": "paper",
        "classifier.head_sampler": "assumed",
        "sampler.name": "paper",
    },
}
