"""Samplers whose class probabilities are a power of the class counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import UserError
from ltbench.interfaces import ClassSampler, EpochPlan, EpochView, Feedback, Sampler, in_batches


def power_probs(class_counts: np.ndarray, q: float) -> np.ndarray:
    """P_j = n_j^q / sum n^q, float64 (C,), 0 for a class without images. Kang et al. 2020, equation 1."""
    counts = np.asarray(class_counts, dtype=np.float64)
    powers = np.where(counts > 0, np.maximum(counts, 1.0) ** q, 0.0)
    return powers / powers.sum()


class Instance(Sampler):
    """Every drawable image once, in random order."""

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        return [in_batches(rng.permutation(len(view.labels)), view.batch_size)]


class Power(ClassSampler):
    """Classes drawn with P ~ n^q, with replacement; q = 1 natural, 0 balanced. Kang et al. 2020, equation 1.

    epoch_length: draws an epoch, "dataset" (as many as images), "max_class_x_c" (largest class times C) or a number.
    cycle: walk through the shuffled images of a class, again when all were shown, instead of independent draws.
    q = 0 with epoch_length=max_class_x_c and cycle=true is the class-aware sampler of the authors' code.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"q": ("linear", 0.0, 1.0)}

    def __init__(self, *, q: float = 0.5, epoch_length: str | int = "dataset", cycle: bool = False) -> None:
        if isinstance(q, bool) or not isinstance(q, (int, float)) or not math.isfinite(q):
            raise UserError(f"sampler.q must be a finite number, got {q!r}; for example --set sampler.q=0.5")
        whole = isinstance(epoch_length, int) and not isinstance(epoch_length, bool) and epoch_length >= 2
        if not whole and epoch_length not in ("dataset", "max_class_x_c"):
            raise UserError(
                "sampler.epoch_length must be dataset, max_class_x_c or a whole number of images >= 2, "
                f"got {epoch_length!r}"
            )
        if not isinstance(cycle, bool):
            raise UserError(f"sampler.cycle must be true or false, got {cycle!r}")
        self.q, self.epoch_length, self.cycle = float(q), epoch_length, cycle

    def class_probs(self, epoch: int) -> np.ndarray:
        return power_probs(self.class_counts, self.q)

    def epoch_size(self, view: EpochView) -> int:
        lengths = {"dataset": len(view.labels), "max_class_x_c": int(view.class_counts.max()) * view.num_classes}
        return int(lengths.get(str(self.epoch_length), self.epoch_length))

    def draw(self, view: EpochView, probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.cycle:
            return super().draw(view, probs, rng)
        classes = rng.choice(view.num_classes, size=self.epoch_size(view), p=probs)
        rows = np.empty(len(classes), dtype=np.int64)
        for k in np.unique(classes):
            own, places = np.flatnonzero(view.labels == k), np.flatnonzero(classes == k)
            rounds = [rng.permutation(own) for _ in range(-(-len(places) // len(own)))]
            rows[places] = np.concatenate(rounds)[: len(places)]
        return rows


class Sqrt(Power):
    """Square-root re-sampling, P ~ sqrt(n); Kang et al. 2020, equation 1 with q = 1/2."""

    SEARCH: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__(q=0.5)


class ClassBalanced(Power):
    """Every class equally often; Kang et al. 2020, equation 1 with q = 0."""

    SEARCH: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__(q=0.0)
