"""Decoupled methods as plain recipes.

fidelity: where each value comes from, "paper", "code" (the authors' release), "assumed" (neither says) or "control".
"""

from typing import Any

STAGE_ONE: dict[str, Any] = {"loss": "ce", "sampler": "instance"}
FIDELITY: dict[str, str] = {"method": "paper", "loss.name": "paper", "sampler.name": "paper"}
TRAINED: dict[str, str] = {**FIDELITY, "classifier.share": "code", "classifier.lr_scale": "code"}

CRT: dict[str, Any] = {**STAGE_ONE, "classifier": "crt", "fidelity": TRAINED}
LWS: dict[str, Any] = {**STAGE_ONE, "classifier": "lws", "fidelity": TRAINED}
TAU_NORM: dict[str, Any] = {
    **STAGE_ONE,
    "classifier": "tau-norm",
    "fidelity": {**FIDELITY, "classifier.largest": "code", "classifier.step": "code"},
}
NCM: dict[str, Any] = {
    **STAGE_ONE,
    "classifier": "ncm",
    "fidelity": {**FIDELITY, "classifier.scale": "assumed"},
}
