"""Options of `cellgan`: which the fit depends on, their values per tier, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.models import pretraining
from ltbench.models.frames import SIZES
from ltbench.options import choice, number, whole

SAMPLING = frozenset({"sample_batch"})

TIERS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "max_size": 32,
        "width": 8,
        "kimg": 120,
        "lr": 1e-3,
        "start_gain": 1.0,
        "class_norm": False,
        "ema_start": 100,
        "ema": 0.99,
        "snapshot_kimg": 20,
        "snapshot_images": 500,
    },
    "base": {
        "max_size": 64,
        "width": 32,
        "kimg": 1000,
        "snapshot_kimg": 50,
        "snapshot_images": 2000,
        "sample_batch": 512,
    },
    "paper": {
        "max_size": 256,
        "width": 32,
        "kimg": 6400,
        "snapshot_kimg": 320,
        "snapshot_images": 5000,
    },
}
FLAGS = ("context", "class_norm", "misaligned_crops", "stale_average")


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    for name in ("size", "max_size"):
        if values[name] is not None or name == "max_size":
            choice(f"generator.{name}", values[name], SIZES)
    for name in ("width", "train_batch", "r1_every", "snapshot_images", "sample_batch"):
        whole(f"generator.{name}", values[name], 1)
    whole("generator.ema_start", values["ema_start"], 0)
    for name in ("kimg", "lr", "start_gain"):
        number(f"generator.{name}", values[name], ends="()")
    for name in ("r1", "snapshot_kimg"):
        number(f"generator.{name}", values[name])
    number("generator.ema", values["ema"], high=1)
    number("generator.label_power", values["label_power"], high=1, ends="[]")
    for name in (*FLAGS, "hflip", "vflip"):
        if not isinstance(values[name], bool) and not (name in ("hflip", "vflip") and values[name] is None):
            raise UserError(f"generator.{name} must be true or false, got {values[name]!r}")
    pretraining.check(values)
