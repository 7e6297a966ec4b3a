"""DiffMIC and its ablations as plain recipes.

fidelity: where each value comes from, "paper", "code" (the authors' release), "assumed" (neither says) or "control".
"""

from typing import Any

_FIDELITY = {
    "classifier.prior": "code",
    "classifier.prior_fusion": "code",
    "classifier.mmd": "paper",
    "classifier.train_steps": "code",
    "classifier.steps": "paper",
    "classifier.sampler": "assumed",
    "classifier.samples": "code",
    "classifier.decision": "code",
    "classifier.width": "code",
    "classifier.encoder": "paper",
    "classifier.rois": "paper",
    "classifier.crop_share": "paper",
    "classifier.lr": "paper",
    "classifier.guide_lr": "paper",
    "classifier.warmup_share": "code",
    "classifier.clip": "code",
    "classifier.ema": "code",
    "classifier.warmup_epochs": "paper",
}


def _variant(changes: dict[str, Any], **fidelity: str) -> dict[str, Any]:
    marks = {**_FIDELITY, **{f"classifier.{name}": mark for name, mark in fidelity.items()}}
    return {"classifier": {"name": "diffmic", **changes}, "sampler": "instance", "fidelity": marks}


DIFFMIC = _variant({})
C1 = _variant({"prior": "none", "mmd": 0.0}, prior="paper", mmd="paper")
C2 = _variant({"mmd": 0.0}, mmd="paper")
DCG_ONLY = _variant({"diffusion": False}, diffusion="control")
GLOBAL_ONLY = _variant({"prior": "global", "mmd": 0.0}, prior="control")
LOCAL_ONLY = _variant({"prior": "local", "mmd": 0.0}, prior="control")
S10 = _variant({"samples": 10}, samples="control")
TRUNCATED = _variant({"sampler": "truncated"}, sampler="code")
BASIC: dict[str, Any] = {
    "classifier": "standard",
    "loss": "ce",
    "sampler": "instance",
    "protocol": {"backbone": "resnet18"},
    "owns": {"backbone": "the row is its backbone, ResNet-18"},
    "fidelity": {"protocol.backbone": "paper"},
}
