"""Optimisers and learning-rate schedules, named by the protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ltbench.errors import UserError


def build_optimizer(spec: Mapping[str, Any], groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """{"name": "sgd" | "adamw", "lr", "weight_decay", "momentum"} over parameter groups."""
    if spec["name"] == "sgd":
        return torch.optim.SGD(
            groups, lr=spec["lr"], momentum=spec["momentum"], weight_decay=spec["weight_decay"], foreach=True
        )
    if spec["name"] == "adamw":
        return torch.optim.AdamW(groups, lr=spec["lr"], weight_decay=spec["weight_decay"], foreach=True)
    raise UserError(f"unknown optimizer {spec['name']!r}; use sgd or adamw")


def learning_rate(protocol: Mapping[str, Any], epoch: int, step: int, steps: int, epochs: int) -> float:
    """Rate at a step: a pure function of the time in epochs, so that candidates and resumes need no schedule state.

    "cosine": linear warm-up over `warmup` epochs, then half a cosine to 0, by step. "steps": times `gamma` at the
    fractions `at` of the epochs, by epoch. "constant".
    """
    schedule, base = protocol["schedule"], float(protocol["optimizer"]["lr"])
    warmup = float(schedule.get("warmup", 0)) if epochs > 1 else 0.0
    now = epoch + (step + 1) / steps
    if now <= warmup:
        return base * now / warmup
    if schedule["name"] == "cosine":
        span = (epoch + step / steps - warmup) / max(epochs - warmup, 1e-9)
        return base * 0.5 * (1 + math.cos(math.pi * min(max(span, 0.0), 1.0)))
    if schedule["name"] == "steps":
        passed = sum(epoch >= round(fraction * epochs) for fraction in schedule["at"])
        return base * float(schedule["gamma"]) ** passed
    if schedule["name"] == "constant":
        return base
    raise UserError(f"unknown schedule {schedule['name']!r}; use cosine, steps or constant")
