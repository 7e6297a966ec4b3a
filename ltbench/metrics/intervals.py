"""Intervals: a class's recall, and a mean over splits, seeds and images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ltbench.errors import ContractError

DRAWS = 20000  # a p value of 1e-4 can be told: with Holm's correction fifty methods can still be separated


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


def shared_draws(images: np.ndarray) -> np.ndarray:
    """Bootstrap draws (R,) over images of a mean over k seeds, from those of each seed (k, R), less the seeds' own.

    What an image does to one seed alone is in the spread of the seeds already, and would count twice (the interaction
    of a two-way layout of seeds and images; Gallas 2006, One-shot estimate of MRMC variance).
    """
    mean, k = images.mean(axis=0), len(images)
    variance = float(np.nanvar(mean))
    if k == 1 or variance == 0:
        return mean
    own = (float(np.nanvar(images, axis=1).mean()) - variance) / (k - 1)
    centre = np.nanmean(mean)
    return centre + (mean - centre) * np.sqrt(max(1 - own / variance, 0.0))


def hierarchical_draws(
    points: Sequence[np.ndarray], images: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Draws of a mean over splits of means over seeds, as it might have come out on other images, seeds, splits.

    points: for each split the values (k,) of its seeds on the same test images. images: for each split bootstrap draws
    (k, R) of these values over its images, the same images for all seeds. Each level adds a t variate with its own
    degrees of freedom, scaled by the standard error it contributes: s / sqrt(k) for the seeds of a split, beside
    `shared_draws` for its images, and for splits what their spread exceeds that of the levels below. A level with one
    member adds nothing: its spread is unknown, not zero. Several splits of one seed each know their whole spread alone,
    and it counts in place of their images' where it is larger. Returns (R,) where no level adds, else (DRAWS,).
    """
    if len(points) != len(images) or not all(len(p) == len(d) for p, d in zip(points, images, strict=False)):
        raise ContractError(
            f"draws are needed for each value of each split, got values {[np.shape(p) for p in points]} and draws "
            f"{[np.shape(d) for d in images]}"
        )
    if not points or not all(len(p) for p in points):
        raise ContractError("an interval needs at least one split with at least one value")
    alone = len(points) == 1 and len(points[0]) == 1
    within, variances = [], []
    for values, draws in zip(points, images, strict=True):
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
        shared = shared_draws(np.asarray(draws, np.float64))
        within.append(shared if alone else np.resize(shared, DRAWS) + _t(error, len(values) - 1, rng))
        variances.append(error**2 + float(np.nanvar(shared)))
    drawn: np.ndarray = np.mean(within, axis=0)
    splits = len(points)
    if splits > 1:
        spread, below = float(np.var([np.mean(values) for values in points], ddof=1)), float(np.mean(variances))
        if all(len(values) == 1 for values in points):
            return float(np.mean(points)) + _t(np.sqrt(max(spread, below) / splits), splits - 1, rng)
        drawn = drawn + _t(np.sqrt(max(spread - below, 0.0) / splits), splits - 1, rng)
    return drawn


def _t(scale: float, df: int, rng: np.random.Generator) -> np.ndarray:
    """The quantiles of a scaled t distribution at evenly spread levels, in random order: less noise than draws."""
    return np.zeros(DRAWS) if scale == 0.0 else scale * rng.permutation(_t_quantiles(df))


@cache
def _t_quantiles(df: int) -> np.ndarray:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, (np.arange(DRAWS) + 0.5) / DRAWS))
