"""Offline augmentation by diffusion generators, as plain recipes: one pool, made before training.

fidelity: where each value comes from, "paper", "code" (the authors' release) or "assumed" (neither says).
"""

from typing import Any

QUOTA: dict[str, Any] = {
    "name": "fixed-quota",
    "total": "@protocol.synthetic_total",
    "ratio": "@protocol.synthetic_ratio",
}
FIDELITY: dict[str, str] = {
    "method": "assumed",  # these papers present generators; how many images join the training is the protocol's choice
    "classifier.name": "assumed",
    "loss.name": "assumed",
    "sampler.name": "assumed",
    "sampler.total": "assumed",
    "sampler.ratio": "assumed",
    "sampler.base": "assumed",
    "generator.name": "paper",
}


def _offline(generator: dict[str, Any], **fidelity: str) -> dict[str, Any]:
    marks = {f"generator.{option}": level for option, level in fidelity.items()}
    return {
        "classifier": "standard",
        "loss": "ce",
        "sampler": QUOTA,
        "generator": generator,
        "fidelity": {**FIDELITY, **marks},
    }


DDPM_OFFLINE = _offline(
    {"name": "ddpm", "schedule": "cosine", "prediction": "v_prediction", "cfg": 1.0},
    schedule="assumed",
    prediction="assumed",
    cfg="assumed",
    label_power="assumed",
)
EDM_OFFLINE = _offline(
    {"name": "edm", "p_mean": -1.2, "p_std": 1.2, "sigma_data": None, "cfg": 1.0},
    p_mean="code",
    p_std="code",
    sigma_data="assumed",
    sigma_min="code",
    sigma_max="code",
    rho="code",
    cfg="assumed",
    label_power="assumed",
)
LDM_OFFLINE = _offline(
    {"name": "ldm", "schedule": "scaled-linear-ldm", "cfg": 1.0},
    schedule="code",
    prediction="assumed",
    cfg="assumed",
    label_power="assumed",
)
MGDM = _offline(
    {"name": "mgdm", "base": "ddpm", "measure": "entropy"},
    measure="paper",
    base="assumed",
    scale="assumed",
    bridge_steps="assumed",
)
SKIN_SDM = _offline(
    {"name": "skin-sdm", "prompt": "a dermatoscopic image of {class}", "cfg": 2.0},
    prompt="assumed",
    train="assumed",
    cfg="assumed",
    steps="assumed",
    sampler="assumed",
)
SKIN_SDM_SCRATCH = _offline(
    {"name": "skin-sdm-scratch", "cfg": 2.0},
    name="assumed",
    cfg="assumed",
    steps="assumed",
    sampler="assumed",
)
