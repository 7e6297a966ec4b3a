"""Average ranks of methods across data sets, with the critical difference of Nemenyi's test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Methods by average rank, best (1) first.

    difference: two methods are told apart when their average ranks differ by it (level 0.05). cliques: (lowest,
    highest) average rank of each largest set of methods that are not told apart. p: of Friedman's test that all are
    alike.
    """

    methods: tuple[str, ...]
    average: tuple[float, ...]
    difference: float
    cliques: tuple[tuple[float, float], ...]
    p: float


def average_ranks(methods: Sequence[str], scores: np.ndarray, level: float = 0.05) -> Ranks | None:
    """Ranks of scores (data sets, methods), higher is better, ties share a rank (Demsar 2006, sections 3.2.2-3.2.4).

    None for fewer than two data sets or three methods, where Friedman's test does not exist.
    """
    from scipy import stats

    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or len(scores) < 2 or scores.shape[1] < 3:
        return None
    blocks, count = scores.shape
    average = stats.rankdata(-scores, axis=1).mean(axis=0)
    quantile = float(stats.studentized_range.ppf(1 - level, count, np.inf)) / math.sqrt(2)
    difference = quantile * math.sqrt(count * (count + 1) / (6 * blocks))
    alike = bool((scores == scores[:, :1]).all())
    p = 1.0 if alike else float(stats.friedmanchisquare(*scores.T).pvalue)
    order = sorted(range(count), key=lambda k: (average[k], methods[k]))
    ranks = tuple(float(average[k]) for k in order)
    return Ranks(tuple(methods[k] for k in order), ranks, difference, _cliques(ranks, difference), p)


def _cliques(ranks: Sequence[float], difference: float) -> tuple[tuple[float, float], ...]:
    """The largest runs of sorted ranks that span less than the difference and hold two methods or more."""
    found: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        stop = max(k for k in range(start, len(ranks)) if ranks[k] - ranks[start] < difference or k == start)
        if stop > start and (not found or stop > found[-1][1]):
            found.append((start, stop))
    return tuple((ranks[start], ranks[stop]) for start, stop in found)
