"""Intervals: a class's recall, and a mean over splits, seeds and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltbench.errors import ContractError


def jeffreys(hits: Any, n: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval (low, high) of a rate from `hits` of `n` trials, elementwise; nan where n is 0.

    Quantiles of Beta(hits + 1/2, n - hits + 1/2), low = 0 at no hit, high = 1 at no miss (Brown, Cai and DasGupta
    2001). hits may be a mean over seeds and so no whole number.
    """
    from scipy.special import betaincinv

    hits, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(n, np.float64))
    if ((hits < 0) | (hits > n)).any():
        raise ContractError(f"hits must lie in 0..n, got hits {hits.tolist()} of n {n.tolist()}")
    a, b, tail = hits + 0.5, n - hits + 0.5, (1 - level) / 2
    low = np.where(hits == 0, 0.0, betaincinv(a, b, tail))
    high = np.where(hits == n, 1.0, betaincinv(a, b, 1 - tail))
    empty = n == 0
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def hierarchical_draws(
    points: Sequence[np.ndarray], images: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Draws (R,) of a mean over splits of means over seeds, as it might have come out on other images, seeds, splits.

    points: for each split the values (k,) of its seeds on the same test images. images: for each split bootstrap draws
    (R,) over these images of the mean over its seeds. Each level adds a t variate with its own degrees of freedom,
    scaled by the standard error it contributes: s / sqrt(k) for the seeds of a split, and for splits what their spread
    exceeds that of the levels below. A level with one member adds nothing: its spread is unknown, not zero.
    """
    if len(points) != len(images) or not points or not all(len(p) for p in points):
        raise ContractError(f"values and draws are needed for each split, got {len(points)} and {len(images)}")
    size = len(images[0])
    within, variances = [], []
    for values, draws in zip(points, images, strict=True):
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
        within.append(draws + _t(error, len(values) - 1, size, rng))
        variances.append(error**2 + float(np.nanvar(draws)))
    drawn = np.mean(within, axis=0)
    if len(points) > 1:
        spread = float(np.var([np.mean(values) for values in points], ddof=1)) - float(np.mean(variances))
        drawn = drawn + _t(np.sqrt(max(spread, 0.0) / len(points)), len(points) - 1, size, rng)
    return drawn


def _t(scale: float, df: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """The quantiles of a scaled t distribution at evenly spread levels, in random order: less noise than draws."""
    from scipy.stats import t

    if scale == 0.0:
        return np.zeros(size)
    return scale * rng.permutation(t.ppf((np.arange(size) + 0.5) / size, df))
