"""Options of `guided-ddpm`: which the fit depends on, their values per tier, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench_diffusion.ddim import FORMS, INPUTS, PREDICTIONS

SMALL = 16  # px: up to here "auto" predicts the noise itself

FIT = (
    "attention",
    "blocks",
    "conditioning",
    "ema",
    "lr",
    "max_size",
    "prediction",
    "size",
    "train_batch",
    "train_steps",
    "unet_path",
    "widths",
)

TIERS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "max_size": 32,
        "prediction": "auto",
        "widths": [16, 32, 32],
        "blocks": 1,
        "attention": 4,
        "train_steps": 1500,
        "train_batch": 64,
        "lr": 3e-3,
        "ema": 0.99,
        "steps": 20,
    },
    "base": {
        "max_size": 64,
        "prediction": "auto",
        "widths": [64, 128, 128, 256],
        "blocks": 2,
        "attention": 16,
        "train_steps": 6000,
        "train_batch": 128,
        "lr": 3e-4,
        "ema": 0.999,
        "steps": 20,
        "sample_batch": 512,
    },
    "paper": {
        "max_size": 128,
        "prediction": "epsilon",
        "widths": [256, 256, 512, 768, 1024],
        "blocks": 2,
        "attention": 32,
        "train_steps": 50_000,
        "train_batch": 128,
        "lr": 1e-4,
        "ema": 0.9999,
        "steps": 50,
        "sample_batch": 256,
    },
}

CHOICES = {
    "conditioning": ("none", "class"),
    "guide": ("current", "reference", "none"),
    "guidance_input": INPUTS,
    "guidance_form": FORMS,
    "prediction": ("auto", *PREDICTIONS),
}
WHOLE = ("max_size", "blocks", "train_steps", "train_batch", "steps", "sample_batch")


def prediction(option: str, size: int) -> str:
    """What a network for images of `size` px predicts; "auto": the noise for small images, v for larger ones.

    A small fit of the noise is too coarse at the noisiest steps to carry the colours of larger images; on 8 px digits
    it takes guidance better (benchmarks/guidance_digits.py).
    """
    if option != "auto":
        return option
    return "epsilon" if size <= SMALL else "v_prediction"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""

    def require(ok: bool, name: str, want: str) -> None:
        if not ok:
            raise UserError(f"generator.{name} must be {want}, got {values[name]!r}")

    for name, allowed in CHOICES.items():
        require(values[name] in allowed, name, "one of " + ", ".join(allowed))
    for name in WHOLE:
        value = values[name]
        require(isinstance(value, int) and not isinstance(value, bool) and value >= 1, name, "a whole number >= 1")
    size = values["size"]
    require(size is None or (isinstance(size, int) and size >= 4), "size", "a whole number of px >= 4, or none")
    widths = values["widths"]
    whole = isinstance(widths, (list, tuple)) and all(isinstance(w, int) and w >= 1 for w in widths)
    require(whole and len(widths) > 0, "widths", "a list of channel numbers, such as [16, 32]")
    require(_number(values["scale"]) and 0 <= values["scale"] < float("inf"), "scale", "a finite number >= 0")
    require(_number(values["lr"]) and values["lr"] > 0, "lr", "a number > 0")
    require(_number(values["ema"]) and 0 <= values["ema"] < 1, "ema", "a number in [0, 1)")
    require(_number(values["eta"]) and 0 <= values["eta"] <= 1, "eta", "a number in [0, 1]")
    require(values["steps"] <= 1000, "steps", "at most 1000")
    for name in ("guidance_start", "guidance_stop"):
        require(_number(values[name]) and 0 <= values[name] <= 1, name, "a fraction of the steps in [0, 1]")
    require(values["guidance_start"] <= values["guidance_stop"], "guidance_start", "at most guidance_stop")
