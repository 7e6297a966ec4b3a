"""Losses that know how many training images each class has."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from ltbench.errors import ContractError, UserError
from ltbench.interfaces import Loss
from ltbench.options import choice
from ltbench_losses.base import ClassVector


def checked_counts(class_counts: Any) -> np.ndarray:
    """Counts float64 (C,), finite and not negative, or ContractError naming the class."""
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.ndim != 1 or len(counts) < 2:
        raise ContractError(f"class counts must be a vector of at least 2 classes, got shape {counts.shape}")
    wrong = np.flatnonzero(~(np.isfinite(counts) & (counts >= 0)))
    if len(wrong):
        raise ContractError(f"class {wrong[0]} has {counts[wrong[0]]:g} training images; counts must be finite, >= 0")
    return counts


def positive_counts(class_counts: Any, min_count: int) -> np.ndarray:
    """Counts float64 (C,) raised to `min_count`, or UserError naming a class that is left without images."""
    counts = np.maximum(checked_counts(class_counts), min_count)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise UserError(
            f"class {empty[0]} has no training image, so its weight is undefined; choose another split, "
            "or count it as one image: --set loss.min_count=1"
        )
    return counts


class CountLoss(Loss):
    """A loss with one number per class, made from the counts of REAL training images.

    min_count: smaller counts are raised to it; at 0 a class without images is an error.
    """

    uses_class_counts = True
    vector: ClassVector

    def __init__(self, *, min_count: int = 0) -> None:
        if isinstance(min_count, bool) or not isinstance(min_count, int) or min_count < 0:
            raise UserError(f"loss.min_count must be a whole number >= 0, got {min_count!r}; 1 counts an empty class")
        self.min_count = min_count

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        counts = positive_counts(class_counts, self.min_count)
        self.vector = ClassVector(self.per_class(counts), type(self).__name__)

    @abstractmethod
    def per_class(self, counts: np.ndarray) -> np.ndarray:
        """The loss's number for each class, float64 (C,), from counts (C,), all positive."""


class WeightedLoss(CountLoss):
    """w_y times the per-sample value of another loss, the weights `per_class`; head and prediction are the other's.

    normalize: the sum over the batch is divided by N ("n") or by the sum of w_y ("weight", as torch does).
    """

    def __init__(self, base: Loss, *, normalize: str = "n", min_count: int = 0) -> None:
        super().__init__(min_count=min_count)
        self.base = base
        self.normalize = choice("loss.normalize", normalize, ("n", "weight"))
        self.head = base.head

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        super().setup(class_counts=class_counts, total_epochs=total_epochs)
        self.base.setup(class_counts=class_counts, total_epochs=total_epochs)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self._weighted(logits, targets)[0]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        values, weights = self._weighted(logits, targets)
        return values.mean() if self.normalize == "n" else values.sum() / weights.sum()

    def _weighted(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        values = self.base.per_sample(logits, targets)
        weights = self.vector.like(logits)[targets]
        return values * weights, weights

    def adjust(self, logits: Tensor) -> Tensor:
        return self.base.adjust(logits)
