"""Methods that are a loss under the standard classifier.

fidelity: where each value comes from, "paper", "code" (the authors' release) or "assumed" (neither says).
"""

from typing import Any

CE: dict[str, Any] = {"classifier": "standard", "loss": "ce", "sampler": "instance"}
FOCAL: dict[str, Any] = {
    **CE,
    "loss": {"name": "focal", "gamma": 2.0},
    "fidelity": {"loss.gamma": "code", "loss.activation": "code"},
}
WEIGHTED_CE: dict[str, Any] = {
    **CE,
    "loss": {"name": "weighted-ce", "rho": 1.0, "normalize": "n"},
    "fidelity": {"loss.name": "paper", "loss.rho": "paper", "loss.normalize": "assumed"},
}
CB_CE: dict[str, Any] = {
    **CE,
    "loss": {"name": "cb-ce", "beta": 0.9999, "normalize": "n"},
    "fidelity": {"loss.name": "paper", "loss.beta": "paper", "loss.normalize": "paper"},
}
CB_FOCAL: dict[str, Any] = {
    **CE,
    "loss": {"name": "cb-focal", "beta": 0.9999, "gamma": 2.0, "activation": "sigmoid", "probs": "softmax"},
    "fidelity": {
        "loss.name": "paper",
        "loss.beta": "code",
        "loss.gamma": "code",
        "loss.activation": "code",
        "loss.probs": "assumed",
        "loss.normalize": "code",
    },
}
BALANCED_SOFTMAX: dict[str, Any] = {**CE, "loss": "balanced-softmax", "fidelity": {"loss.name": "paper"}}
LOGIT_ADJUSTMENT: dict[str, Any] = {
    **CE,
    "loss": {"name": "logit-adjustment", "tau": 1.0},
    "fidelity": {"loss.name": "paper", "loss.tau": "paper"},
}
LOGIT_ADJUSTMENT_POSTHOC: dict[str, Any] = {
    **LOGIT_ADJUSTMENT,
    "loss": {"name": "logit-adjustment-posthoc", "tau": 1.0},
}
LDAM: dict[str, Any] = {
    **CE,
    "loss": {"name": "ldam", "scale": 30.0, "max_margin": 0.5},
    "fidelity": {"loss.name": "paper", "loss.scale": "code", "loss.max_margin": "code"},
}
DRW: dict[str, Any] = {
    **CE,
    "loss": {"name": "drw", "base": "ce", "switch": 0.8, "beta": 0.9999, "normalize": "weight"},
    "fidelity": {
        "loss.name": "paper",
        "loss.switch": "code",
        "loss.beta": "code",
        "loss.normalize": "code",
    },
}
LDAM_DRW: dict[str, Any] = {
    **DRW,
    "loss": {**DRW["loss"], "base": LDAM["loss"]},
    "fidelity": {
        **DRW["fidelity"],
        "loss.base.name": "paper",
        "loss.base.scale": "code",
        "loss.base.max_margin": "code",
    },
}
OHEM: dict[str, Any] = {
    **CE,
    "loss": {"name": "ohem", "keep_ratio": 0.7},
    "fidelity": {"loss.name": "paper", "loss.keep_ratio": "assumed", "loss.score": "paper"},
}
EQL: dict[str, Any] = {
    **CE,
    "loss": {"name": "eql", "activation": "softmax", "gamma": 0.95},
    "fidelity": {
        "loss.name": "paper",
        "loss.activation": "paper",
        "loss.gamma": "assumed",
        "loss.threshold": "assumed",
    },
}
EQLV2: dict[str, Any] = {
    **CE,
    "loss": {"name": "eqlv2", "gamma": 12.0, "mu": 0.8, "alpha": 4.0},
    "fidelity": {"loss.name": "paper", "loss.gamma": "paper", "loss.mu": "paper", "loss.alpha": "paper"},
}
