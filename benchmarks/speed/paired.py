"""Timing two pieces of work against each other: interleaved pairs in random order, ratios only."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(
    first: Callable[[], object], second: Callable[[], object], pairs: int, rng: np.random.Generator
) -> list[float]:
    """Time of `second` over time of `first`, pair by pair, in random order."""
    ratios = []
    for _ in range(pairs):
        times = {}
        for which in rng.permutation(2):
            times[int(which)] = seconds((first, second)[which])
        ratios.append(times[1] / times[0])
    return ratios


def interval(ratios: list[float], rng: np.random.Generator) -> dict[str, float]:
    """Median with its 95 % bootstrap interval."""
    draws = np.median(rng.choice(ratios, size=(2000, len(ratios))), axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}
