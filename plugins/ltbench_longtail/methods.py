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
LIFT: dict[str, Any] = {
    "classifier": "lift",
    "loss": {"name": "logit-adjustment", "tau": 1.0},
    "sampler": "instance",
    "fidelity": {
        "method": "paper",
        "classifier.adapter_dim": "code",
        "classifier.backbone": "paper",
        "classifier.patch_size": "assumed",
        "classifier.scale": "paper",
        "classifier.tte": "paper",
        "loss.name": "paper",
        "loss.tau": "paper",
    },
}
GMIC: dict[str, Any] = {
    "classifier": "gmic",
    "loss": "ce",
    "sampler": "instance",
    "fidelity": {
        "method": "paper",
        "classifier.attention_width": "code",
        "classifier.beta": "assumed",
        "classifier.crop": "assumed",
        "classifier.crops": "paper",
        "classifier.eps": "assumed",
        "classifier.head": "assumed",
        "classifier.local": "paper",
        "classifier.top": "assumed",
    },
}
MTL: dict[str, Any] = {
    "classifier": "mtl",
    "loss": "ce",
    "sampler": "instance",
    "fidelity": {
        "method": "paper",
        "classifier.aux": "assumed",
        "classifier.healthy": "assumed",
        "classifier.weight": "assumed",
    },
}
DANIL: dict[str, Any] = {
    "classifier": "danil",
    "loss": "ce",
    "sampler": "instance",
    "fidelity": {"method": "assumed", "classifier.weight": "assumed", "classifier.eps": "assumed"},
}
