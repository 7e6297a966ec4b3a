"""Intervals: a class's recall, and a mean over splits, seeds and images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ltbench.errors import ContractError

ROUNDING = 1e-9  # splits whose means differ by less have the same
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
    (k, R) of these values over its images, the same images for all seeds. One seed of one split: these draws. Several
    seeds of one split: a t variate with k - 1 degrees of freedom, scaled by s / sqrt(k), beside `shared_draws` of its
    images. Several splits: their means alone, each of which holds all that lies below it, as a t variate with a degree
    of freedom for each split but one. Returns (R,) for one run, else (DRAWS,).
    """
    if len(points) != len(images) or not all(len(p) == len(d) for p, d in zip(points, images, strict=False)):
        raise ContractError(
            f"draws are needed for each value of each split, got values {[np.shape(p) for p in points]} and draws "
            f"{[np.shape(d) for d in images]}"
        )
    if not points or not all(len(p) for p in points):
        raise ContractError("an interval needs at least one split with at least one value")
    splits = len(points)
    if splits > 1:
        return float(np.mean([p.mean() for p in points])) + _t(split_error(points, images), splits - 1, rng)
    shared, seeds = shared_draws(np.asarray(images[0], np.float64)), len(points[0])
    if seeds == 1:
        return shared
    return np.resize(shared, DRAWS) + _t(float(np.std(points[0], ddof=1) / np.sqrt(seeds)), seeds - 1, rng)


def split_error(points: Sequence[np.ndarray], images: Sequence[np.ndarray]) -> float:
    """Standard error of a mean over two or more splits, arguments as those of `hierarchical_draws`.

    Where all splits have one and the same mean (a few test images give few values) it is that of seeds and images.
    """
    spread = float(np.var([np.mean(values) for values in points], ddof=1))
    if spread > ROUNDING**2:
        return float(np.sqrt(spread / len(points)))
    below = [
        float(np.nanvar(shared_draws(np.asarray(draws, np.float64))))
        + (float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else 0.0)
        for values, draws in zip(points, images, strict=True)
    ]
    return float(np.sqrt(np.mean(below) / len(points)))


def _t(scale: float, df: int, rng: np.random.Generator) -> np.ndarray:
    """The quantiles of a scaled t distribution at evenly spread levels, in random order: less noise than draws."""
    return np.zeros(DRAWS) if scale == 0.0 else scale * rng.permutation(_t_quantiles(df))


@cache
def _t_quantiles(df: int) -> np.ndarray:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, (np.arange(DRAWS) + 0.5) / DRAWS))
