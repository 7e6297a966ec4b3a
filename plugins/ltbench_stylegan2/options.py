"""Options of `stylegan2` and `stylegan2-ada`: which the fit depends on, their values per tier, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.models import pretraining
from ltbench.models.frames import SIZES
from ltbench.options import choice, number, whole

SAMPLING = frozenset({"truncation", "truncation_cutoff", "truncation_centre", "noise", "sample_batch"})

TIERS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "max_size": 32,
        "base": 512,
        "most": 64,
        "latent": 64,
        "label_layers": 2,
        "kimg": 40,
        "train_batch": 64,
        "gamma": 1.0,
        "path_weight": 0.0,
        "style_mixing": 0.0,
        "ema_kimg": 2.0,
        "ada_kimg": 20,
        "snapshot_kimg": 5,
        "snapshot_images": 500,
    },
    "base": {
        "max_size": 64,
        "base": 8192,
        "most": 256,
        "kimg": 500,
        "train_batch": 64,
        "ema_kimg": 20.0,
        "snapshot_kimg": 25,
        "snapshot_images": 2000,
        "sample_batch": 512,
    },
    "paper": {
        "max_size": 256,
        "base": 16384,
        "most": 512,
        "layers": 8,
        "kimg": 5000,
        "train_batch": 64,
        "group": 8,
        "gamma": 1.0,
        "ema_kimg": 20.0,
        "ema_ramp": 0.0,
        "ada_kimg": 500,
        "snapshot_kimg": 200,
        "snapshot_images": 5000,
    },
}


def auto_gamma(size: int, batch: int) -> float:
    """Weight of R1 by the rule of the adaptive paper's reference configuration: 0.0002 size^2 / batch."""
    return 0.0002 * size**2 / batch


def auto_ada_kimg(kimg: float, most: float | None = None) -> float:
    """Images in thousands in which p may rise by 1: a share of a short run, `most` (500) for long ones."""
    return min(max(0.15 * kimg, 10.0), most or 500.0)


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    for name in ("size", "max_size"):
        if values[name] is not None or name == "max_size":
            choice(f"generator.{name}", values[name], SIZES)
    for name in ("base", "most"):
        whole(f"generator.{name}", values[name], 8)
    for name in ("latent", "layers", "label_layers", "group", "train_batch", "snapshot_images", "sample_batch"):
        whole(f"generator.{name}", values[name], 1)
    if values["train_batch"] % min(values["group"], values["train_batch"]):
        raise UserError(
            f"generator.train_batch must be a multiple of group={values['group']}, got {values['train_batch']}"
        )
    for name in ("kimg", "lr"):
        number(f"generator.{name}", values[name], ends="()")
    for name in ("path_weight", "ema_kimg", "snapshot_kimg"):
        number(f"generator.{name}", values[name])
    if values["gamma"] is not None:
        number("generator.gamma", values["gamma"])
    if values["ada_kimg"] is not None:
        number("generator.ada_kimg", values["ada_kimg"], ends="()")
    for name in ("style_mixing", "ema_ramp", "label_power", "truncation"):
        number(f"generator.{name}", values[name], high=1, ends="[]")
    number("generator.ada_target", values["ada_target"], -1, 1, ends="()")
    number("generator.ada_ceiling", values["ada_ceiling"], high=0.85, ends="[]")
    for name in ("ada", "residual", "hflip", "vflip"):
        if values[name] not in (True, False) and not (name == "ada" and values[name] is None):
            raise UserError(f"generator.{name} must be true or false, got {values[name]!r}")
    if values["truncation_cutoff"] is not None:
        whole("generator.truncation_cutoff", values["truncation_cutoff"], 1)
    choice("generator.truncation_centre", values["truncation_centre"], ("class", "global"))
    choice("generator.noise", values["noise"], ("random", "const", "none"))
    pretraining.check(values)
    if whole("generator.freeze_d", values["freeze_d"]) and not values["pretrain"]:
        raise UserError(
            f"generator.freeze_d must be 0 without a pre-training, got {values['freeze_d']}: the layers would keep "
            f"their random weights; {pretraining.EXAMPLE}"
        )
