"""Options that all class-conditional diffusion generators share: what a fit depends on, tiers, ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.options import choice, number, whole, wholes

FIT = frozenset(
    {
        "attention",
        "blocks",
        "dropout",
        "ema",
        "flip",
        "label_power",
        "lr",
        "max_size",
        "p_uncond",
        "size",
        "train_batch",
        "train_steps",
        "unet_path",
        "warmup",
        "widths",
    }
)

TIERS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "max_size": 32,
        "widths": [32, 32, 64],
        "blocks": 1,
        "attention": 4,
        "train_steps": 258,
        "train_batch": 128,
        "lr": 2e-3,
        "ema": 0.999,
        "warmup": 20,
    },
    "base": {
        "max_size": 64,
        "widths": [96, 192, 192, 288],
        "blocks": 2,
        "attention": 16,
        "train_steps": 8000,
        "train_batch": 256,
        "lr": 3e-4,
        "ema": 0.999,
        "warmup": 300,
        "dropout": 0.1,
        "sample_batch": 512,
    },
    "paper": {
        "max_size": 128,
        "widths": [256, 256, 512, 768, 1024],
        "blocks": 2,
        "attention": 32,
        "train_steps": 200_000,
        "train_batch": 128,
        "lr": 1e-4,
        "ema": 0.9999,
        "warmup": 500,
        "dropout": 0.1,
        "sample_batch": 256,
    },
}


def tiers(**own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The shared tiers with a generator's own options for tiny, base and paper on top."""
    return {name: {**shared, **own.get(name, {})} for name, shared in TIERS.items()}


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    whole("generator.max_size", values["max_size"], 4, example=32)
    if values["size"] is not None:
        whole("generator.size", values["size"], 4, example=32)
    for name in ("blocks", "train_steps", "train_batch", "sample_batch"):
        whole(f"generator.{name}", values[name], 1)
    for name in ("attention", "warmup"):
        whole(f"generator.{name}", values[name])
    whole("generator.steps", values["steps"], 2, 1000, example=20)
    wholes("generator.widths", values["widths"], example="[32,64]")
    number("generator.lr", values["lr"], ends="()", example=1e-3)
    number("generator.label_power", values["label_power"], high=1, ends="[]", example=0.5)
    for name in ("ema", "dropout", "p_uncond"):
        number(f"generator.{name}", values[name], high=1)
    choice("generator.flip", values["flip"], (None, True, False))
    check_cfg(values["cfg"], values["p_uncond"])


def check_cfg(cfg: Any, p_uncond: float) -> None:
    """UserError for a guidance weight that a network without an unconditional branch cannot serve."""
    if number("generator.cfg", cfg, example=1.5) != 1 and p_uncond == 0:
        raise UserError(
            f"generator.cfg={cfg:g} mixes in predictions without a class, which a network trained with p_uncond=0 "
            "never learned; set generator.cfg=1, or train with --set generator.p_uncond=0.1"
        )
