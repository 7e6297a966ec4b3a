"""Options of `guided-ddpm`: which the fit depends on, their values per tier, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.options import choice, number, whole, wholes
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
WHOLE = ("blocks", "train_steps", "train_batch", "sample_batch")


def prediction(option: str, size: int) -> str:
    """What a network for images of `size` px predicts; "auto": the noise for small images, v for larger ones.

    A small fit of the noise is too coarse at the noisiest steps to carry the colours of larger images; on 8 px digits
    it takes guidance better (benchmarks/guidance_digits.py).
    """
    if option != "auto":
        return option
    return "epsilon" if size <= SMALL else "v_prediction"


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    for name, allowed in CHOICES.items():
        choice(f"generator.{name}", values[name], allowed)
    for name in WHOLE:
        whole(f"generator.{name}", values[name], 1)
    whole("generator.steps", values["steps"], 1, 1000)
    whole("generator.max_size", values["max_size"], 4, example=32)
    if values["size"] is not None:
        whole("generator.size", values["size"], 4, example=32)
    wholes("generator.widths", values["widths"], example="[16,32]")
    number("generator.scale", values["scale"])
    number("generator.lr", values["lr"], ends="()", example=1e-3)
    number("generator.ema", values["ema"], high=1)
    for name in ("eta", "guidance_start", "guidance_stop"):
        number(f"generator.{name}", values[name], high=1, ends="[]")
    if values["guidance_start"] > values["guidance_stop"]:
        raise UserError(
            f"generator.guidance_start must be at most guidance_stop={values['guidance_stop']}, "
            f"got {values['guidance_start']}"
        )
