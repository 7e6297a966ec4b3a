"""The methods of the IOIS paper and their controls, as plain recipes.

fidelity: where each value comes from, "paper", "code" (the authors' release), "assumed" (neither says) or "control"
(not of the paper, to tell what an effect comes from).
"""

from typing import Any

QUOTA: dict[str, Any] = {"total": "@protocol.synthetic_total", "ratio": "@protocol.synthetic_ratio"}
ADAPTIVE: dict[str, Any] = {"name": "accuracy-adaptive", **QUOTA, "temperature": 1.0, "accuracy": "train_accuracy"}
GUIDED: dict[str, Any] = {
    "name": "guided-ddpm",
    "conditioning": "none",
    "guide": "current",
    "guidance_input": "x0_pred",
    "guidance_form": "adm",
    "scale": 1.0,
}
FIDELITY: dict[str, str] = {
    "method": "paper",
    "classifier.name": "paper",
    "loss.name": "paper",
    "sampler.total": "code",
    "sampler.ratio": "assumed",
    "sampler.temperature": "paper",
    "sampler.accuracy": "paper",
    "sampler.base": "paper",
    "sampler.rounding": "assumed",
    "sampler.generate_every": "paper",
    "generator.conditioning": "paper",
    "generator.guide": "paper",
    "generator.guidance_input": "assumed",
    "generator.guidance_form": "code",
    "generator.scale": "code",
    "generator.prediction": "assumed",
    "generator.steps": "code",
    "generator.eta": "code",
    "generator.lr": "code",
    "generator.ema": "code",
}

IOIS: dict[str, Any] = {
    "classifier": "standard",
    "loss": "ce",
    "sampler": ADAPTIVE,
    "generator": GUIDED,
    "fidelity": FIDELITY,
}
IOIS_XT: dict[str, Any] = {
    **IOIS,
    "generator": {**GUIDED, "guidance_input": "x_t"},
    "fidelity": {**FIDELITY, "generator.guidance_input": "paper"},
}
IOIS_OIS: dict[str, Any] = {**IOIS, "sampler": {**ADAPTIVE, "temperature": "inf"}}
IOIS_OFFLINE: dict[str, Any] = {
    **IOIS,
    "sampler": {"name": "fixed-quota", **QUOTA},
    "generator": {**GUIDED, "guide": "reference"},
    "fidelity": {
        k: v
        for k, v in FIDELITY.items()
        if k not in ("sampler.temperature", "sampler.accuracy", "sampler.generate_every")
    },
}
IOIS_UNGUIDED: dict[str, Any] = {
    **IOIS,
    "generator": {**GUIDED, "guide": "none", "scale": 0.0},
    "fidelity": {**FIDELITY, "method": "control", "generator.guide": "control", "generator.scale": "control"},
}
OVERSAMPLE_MATCHED: dict[str, Any] = {
    **IOIS,
    "generator": "real-copies",
    "fidelity": {k: v for k, v in FIDELITY.items() if not k.startswith("generator.")}
    | {"method": "control", "generator.name": "control"},
}
IOIS_AS_RELEASED: dict[str, Any] = {
    **IOIS,
    "sampler": {**ADAPTIVE, "accuracy": "union_accuracy", "rounding": "truncate"},
    "generator": {**GUIDED, "conditioning": "class", "guidance_input": "x_t"},
    "fidelity": {
        **FIDELITY,
        "sampler.accuracy": "code",
        "sampler.rounding": "code",
        "generator.conditioning": "code",
        "generator.guidance_input": "code",
    },
}
