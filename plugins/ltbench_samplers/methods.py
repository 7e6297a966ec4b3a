"""Methods that are cross-entropy under another sampler."""

from typing import Any

SQRT: dict[str, Any] = {
    "classifier": "standard",
    "loss": "ce",
    "sampler": "sqrt",
    "fidelity": {"sampler.name": "paper"},
}
CLASS_BALANCED: dict[str, Any] = {**SQRT, "sampler": "class-balanced"}
PROGRESSIVE: dict[str, Any] = {
    **SQRT,
    "sampler": {"name": "progressive", "end": "inclusive"},
    "fidelity": {"sampler.name": "paper", "sampler.end": "code"},
}
REPEAT_FACTOR: dict[str, Any] = {
    **SQRT,
    "sampler": {"name": "repeat-factor", "threshold": 0.1, "power": 0.5},
    "fidelity": {"sampler.name": "paper", "sampler.threshold": "assumed", "sampler.power": "paper"},
}
DRS: dict[str, Any] = {
    **SQRT,
    "sampler": {"name": "deferred", "base": "instance", "to": "class-balanced", "switch": 0.8},
    "fidelity": {"sampler.name": "paper", "sampler.to": "paper", "sampler.switch": "code"},
}
FREEMASK: dict[str, Any] = {
    **SQRT,
    "sampler": {
        "name": "freemask",
        "total": "@protocol.synthetic_total",
        "ratio": "@protocol.synthetic_ratio",
        "warmup": 0.1,
    },
    "generator": {"name": "guided-ddpm", "conditioning": "none", "guide": "reference", "scale": 1.0},
    "fidelity": {
        "method": "assumed",
        "sampler.total": "assumed",
        "sampler.ratio": "assumed",
        "sampler.warmup": "assumed",
        "generator.name": "assumed",
        "generator.guide": "assumed",
    },
}
