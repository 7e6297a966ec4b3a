"""The systems as plain recipes.

fidelity: where each value comes from, "paper", "code" (the authors' release), "assumed" (neither says) or "control".
"""

from typing import Any

LIFT: dict[str, Any] = {
    "classifier": "lift",
    "loss": "ce",
    "sampler": "instance",
    "fidelity": {
        "method": "paper",
        "classifier.adapter_dim": "code",
        "classifier.adjust": "paper",
        "classifier.backbone": "paper",
        "classifier.patch_size": "assumed",
        "classifier.scale": "paper",
        "classifier.tte": "paper",
        "loss.name": "paper",
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
