"""Distances class by class: overall ones are blind to swapped labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics.features import checked


@dataclass(frozen=True)
class PerClass:
    """values and floors (C,), nan for classes below the minimum; n (C,): images compared on each side."""

    values: np.ndarray
    floors: np.ndarray
    n: np.ndarray
    least: int

    @property
    def counted(self) -> np.ndarray:
        """The classes that count for the macro means."""
        return np.flatnonzero(self.n >= self.least)

    @property
    def macro(self) -> float:
        """Mean over the counted classes, nan for none."""
        return _mean(self.values[self.counted])

    @property
    def macro_floor(self) -> float:
        """Mean floor over the same classes."""
        return _mean(self.floors[self.counted])


def per_class(
    distance: Callable[[np.ndarray, np.ndarray], float],
    real: tuple[np.ndarray, np.ndarray],
    fake: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    *,
    least: int,
    rng: np.random.Generator,
) -> PerClass:
    """distance(fake, real) for each class at n = min(fakes, reals // 2), beside the floor real against other real.

    real and fake: features (n, d) with labels (n,). Classes with n < least (>= 2) are left out.
    """
    if least < 2:
        raise ContractError(f"a class needs at least 2 images on a side, got the minimum {least}")
    values, floors = np.full(num_classes, np.nan), np.full(num_classes, np.nan)
    counts = np.zeros(num_classes, dtype=np.int64)
    for c in range(num_classes):
        reals, fakes = (rng.permutation(np.flatnonzero(side[1] == c)) for side in (real, fake))
        n = counts[c] = min(len(fakes), len(reals) // 2)
        if n >= least:
            half = real[0][reals[:n]]
            values[c] = distance(fake[0][fakes[:n]], half)
            floors[c] = distance(half, real[0][reals[n : 2 * n]])
    return PerClass(values, floors, counts, least)


def principal_axes(features: np.ndarray, dims: int) -> Callable[[np.ndarray], np.ndarray]:
    """The projection (n, d) -> (n, min(dims, d, rank)) onto the leading principal axes of these features."""
    features = checked(features, "given")
    mean = features.mean(axis=0)
    _, sizes, axes = np.linalg.svd(features - mean, full_matrices=False)
    kept = axes[: min(dims, max(int((sizes > 1e-12 * max(sizes[0], 1e-300)).sum()), 1))]
    return lambda x: (np.asarray(x, np.float64) - mean) @ kept.T


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
