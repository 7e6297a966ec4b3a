"""Accuracy-adaptive sampling: weak classes get more of the synthetic images."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from ltbench_samplers.quota import QuotaSampler

from ltbench.errors import ContractError, DataError, UserError
from ltbench.interfaces import Feedback, Sampler

log = logging.getLogger("ltbench")
SOURCES = ("train_accuracy", "running_accuracy", "union_accuracy")


def adaptive_shares(accuracy: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """p = softmax((1 - accuracy) / temperature), float64 (C,); the paper's equation 5 at temperature 1."""
    scores = (1.0 - np.asarray(accuracy, dtype=np.float64)) / temperature
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def checked_accuracy(accuracy: Any, known: np.ndarray) -> np.ndarray:
    """Accuracy float64 (C,), in [0, 1] for the known classes (C,), or ContractError naming the first that is not."""
    values = np.asarray(accuracy, dtype=np.float64)
    if values.shape != known.shape:
        raise ContractError(f"per-class accuracy must have shape {known.shape}, got {values.shape}")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)) & known)
    if len(wrong):
        k = int(wrong[0])
        hint = "; it looks like percent, divide by 100" if values[k] > 1 else ""
        raise ContractError(f"accuracy of class {k} is {values[k]:g}, expected fractions in [0, 1]{hint}")
    return values


class AccuracyAdaptive(QuotaSampler):
    """A fresh pool of softmax((1 - accuracy) / temperature) * total images; the paper's equation 5.

    total, ratio, base, rounding: as in QuotaSampler. temperature: > 0; inf (or "inf") gives equal counts.
    generate_every: epochs between two pools; the first epoch is real only. accuracy: the feedback that steers it.
    on_empty_class: "error" (DataError) or "skip" for a class without real training images.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"temperature": ("log", 0.1, 10.0)}

    def __init__(
        self,
        *,
        total: int | None = None,
        ratio: float | None = None,
        temperature: float | str = 1.0,
        base: str | Mapping[str, Any] | Sampler = "instance",
        generate_every: int = 1,
        rounding: str = "largest-remainder",
        accuracy: str = "train_accuracy",
        on_empty_class: str = "error",
    ) -> None:
        super().__init__(total=total, ratio=ratio, base=base, rounding=rounding)
        self.temperature = _temperature(temperature)
        if isinstance(generate_every, bool) or not isinstance(generate_every, int) or generate_every < 1:
            raise UserError(f"sampler.generate_every must be a whole number of epochs >= 1, got {generate_every!r}")
        if accuracy not in SOURCES:
            raise UserError(f"sampler.accuracy must be one of {', '.join(SOURCES)}, got {accuracy!r}")
        if on_empty_class not in ("error", "skip"):
            raise UserError(f"sampler.on_empty_class must be error or skip, got {on_empty_class!r}")
        self.generate_every, self.accuracy, self.on_empty_class = generate_every, accuracy, on_empty_class
        self.last: np.ndarray | None = None  # accuracies (C,) of the pool before
        if math.isfinite(self.temperature):
            self.needs = self.needs | {accuracy}

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        super().setup(class_counts=class_counts, total_epochs=total_epochs)
        if len(self.class_counts) < 2:
            raise UserError(f"accuracy-adaptive needs at least 2 classes, got {len(self.class_counts)}")
        empty = np.flatnonzero(self.class_counts == 0)
        if len(empty) and self.on_empty_class == "error":
            raise DataError(
                f"class {empty[0]} has no training image, so its accuracy is undefined; "
                "choose another split, or leave such classes out: --set sampler.on_empty_class=skip"
            )
        if len(empty):
            log.warning("classes %s have no training image and get no synthetic one", empty.tolist())
        if 0 < self.quota < len(self.class_counts):
            log.info("%d synthetic images for %d classes: some get none", self.quota, len(self.class_counts))
        if self.quota == 0:
            self.needs = self.base.needs

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        if self.quota == 0:
            return np.zeros(len(self.class_counts), dtype=np.int64)
        epoch = feedback["epoch"]
        filled = np.sum(feedback["pool_counts"]) > 0
        if filled and (epoch - 1) % self.generate_every:
            return None
        known = self.class_counts > 0
        weights = known.astype(np.float64)
        if not math.isfinite(self.temperature):
            return None if epoch == 0 else self.split(weights)
        if self.accuracy not in feedback:
            return None
        seen = np.asarray(feedback[self.accuracy], dtype=np.float64)
        if self.last is not None and seen.shape == self.last.shape:
            seen = np.where(np.isnan(seen), self.last, seen)  # a class that no pass showed keeps its accuracy
        if self.accuracy == "running_accuracy":
            seen = np.nan_to_num(seen)  # never shown so far
        self.last = checked_accuracy(seen, known)
        weights[known] = adaptive_shares(self.last[known], self.temperature)
        return self.split(weights)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.last = state["last"]


def _temperature(value: Any) -> float:
    try:
        temperature = float(value)
    except (TypeError, ValueError):
        temperature = math.nan
    if isinstance(value, bool) or not temperature > 0:
        raise UserError(f"sampler.temperature must be a number > 0 or inf, got {value!r}")
    return temperature
