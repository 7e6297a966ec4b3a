"""What a sampler is: which rows an epoch visits, in which order, and how many synthetic images exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import ContractError

Feedback = Mapping[str, Any]


@dataclass(frozen=True)
class EpochView:
    """What can be drawn in this epoch: labels int64 (M,), synthetic bool (M,); real rows first, then the pool."""

    labels: np.ndarray
    synthetic: np.ndarray
    epoch: int
    epochs: int
    batch_size: int
    num_classes: int

    @property
    def class_counts(self) -> np.ndarray:
        """Drawable images per class (C,), real and synthetic together."""
        return np.bincount(self.labels, minlength=self.num_classes)


@dataclass(frozen=True)
class EpochPlan:
    """Rows int64 (L,) into the view in training order and batch sizes int64 (B,) summing to L, none of them one."""

    rows: np.ndarray
    sizes: np.ndarray

    def check(self, view: EpochView) -> EpochPlan:
        """Return self, or raise ContractError naming what is wrong."""
        rows, sizes = np.asarray(self.rows), np.asarray(self.sizes)
        if rows.dtype != np.int64 or sizes.dtype != np.int64 or rows.ndim != 1 or sizes.ndim != 1:
            raise ContractError(f"a plan needs int64 vectors, got rows {rows.dtype}, sizes {sizes.dtype}")
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(view.labels):
            raise ContractError(f"plan rows must lie in 0..{len(view.labels) - 1} and not be empty")
        if sizes.sum() != len(rows) or (sizes < 2).any():
            raise ContractError(f"plan sizes must be at least 2 and sum to {len(rows)}, got sum {sizes.sum()}")
        return self


def in_batches(rows: np.ndarray, batch_size: int) -> EpochPlan:
    """Cut rows (L,) into batches of `batch_size`; a last batch of one joins the one before it."""
    n = len(rows)
    if n < 2:
        raise ContractError(f"an epoch needs at least 2 images, got {n}")
    sizes = np.full(-(-n // batch_size), batch_size, dtype=np.int64)
    sizes[-1] = n - batch_size * (len(sizes) - 1)
    if sizes[-1] == 1:
        sizes = sizes[:-1]
        sizes[-1] += 1
    return EpochPlan(rows=np.asarray(rows, dtype=np.int64), sizes=sizes)


class Sampler(ABC):
    """Composition of an epoch; constructor options (keyword-only) appear as `--set sampler.OPTION=VALUE`.

    needs: feedback that costs a pass over the training images, any of "train_accuracy" (C,), "train_loss" (C,),
    "running_accuracy" (C,), "union_accuracy" (C,). Feedback always holds "epoch", "pool_counts" (C,), "val_counts"
    (C,), the validation images per class, and "score" (validation score of the last epoch, nan before); a needed entry
    is missing as long as nothing was trained.
    SEARCH: option -> search space for `ltbench tune`, plain data as in `ltbench.search`.
    """

    version: ClassVar[int] = 1
    SEARCH: ClassVar[Mapping[str, Any]] = {}
    needs: frozenset[str] = frozenset()
    uses_class_counts: bool = False

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        """Learn the counts (C,) of REAL training images per class and the planned epochs; once per cell."""

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        """Replace the pool by exactly this many images per class, int64 (C,), or keep it (None)."""
        return None

    @abstractmethod
    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        """Usually one plan; K plans are each trained from one snapshot and the best on validation is kept."""

    def observe(self, scores: Sequence[float], best: int) -> None:
        """Learn the validation score of each plan (nan = diverged) and which was kept."""

    def notes(self) -> dict[str, Any]:
        """Numbers, or nested lists of them, about the last epoch for its line of the history; after `observe`."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything that must survive a restart."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


class ClassSampler(Sampler):
    """A sampler by class probabilities: draw a class, then a row of it; by default with replacement, M an epoch."""

    uses_class_counts = True
    total_epochs: int = 1
    class_counts: np.ndarray  # (C,), of the current view once `plan` is called

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        self.class_counts = np.asarray(class_counts)
        self.total_epochs = total_epochs

    @abstractmethod
    def class_probs(self, epoch: int) -> np.ndarray:
        """Probability of each class, float64 (C,), summing to 1; 0 for a class without images."""

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        self.class_counts = view.class_counts
        probs = np.asarray(self.class_probs(view.epoch), dtype=np.float64)
        if probs.shape != (view.num_classes,) or not np.isclose(probs.sum(), 1.0) or (probs < 0).any():
            raise ContractError(f"class_probs must be ({view.num_classes},), >= 0 and sum to 1, got {probs}")
        return [in_batches(self.draw(view, probs, rng), view.batch_size)]

    def draw(self, view: EpochView, probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows int64 (L,) of an epoch, classes by probs (C,)."""
        weights = (probs / np.maximum(self.class_counts, 1))[view.labels]
        return rng.choice(len(view.labels), size=self.epoch_size(view), p=weights / weights.sum())

    def epoch_size(self, view: EpochView) -> int:
        """Draws of an epoch, L; default the M drawable images."""
        return len(view.labels)
