"""Samplers whose class probabilities are a power of the class counts."""

from __future__ import annotations

import math

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
    """Classes drawn with P ~ n^q, with replacement; q = 1 natural, 0 balanced. Kang et al. 2020, equation 1."""

    def __init__(self, *, q: float = 0.5) -> None:
        if isinstance(q, bool) or not isinstance(q, (int, float)) or not math.isfinite(q):
            raise UserError(f"sampler.q must be a finite number, got {q!r}; for example --set sampler.q=0.5")
        self.q = float(q)

    def class_probs(self, epoch: int) -> np.ndarray:
        return power_probs(self.class_counts, self.q)


class Sqrt(Power):
    """Square-root re-sampling, P ~ sqrt(n); Kang et al. 2020, equation 1 with q = 1/2."""

    def __init__(self) -> None:
        super().__init__(q=0.5)


class ClassBalanced(Power):
    """Every class equally often; Kang et al. 2020, equation 1 with q = 0."""

    def __init__(self) -> None:
        super().__init__(q=0.0)
