"""Average ranks of methods over data sets, with the critical difference of Nemenyi."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltbench.errors import ContractError


@dataclass(frozen=True)
class Ranking:
    """ranks (M,): mean over data sets, 1 is best; friedman_p: all methods alike; critical: Nemenyi's difference.

    cliques: index groups (best first) within which no two methods differ by more than `critical`, maximal ones only.
    """

    ranks: np.ndarray
    friedman_p: float
    critical: float
    cliques: tuple[tuple[int, ...], ...]


def average_ranks(scores: np.ndarray, *, level: float = 0.05, higher_is_better: bool = True) -> Ranking:
    """Rank methods by scores (D, M) of M methods on D data sets, ties sharing the mean rank (Demsar 2006).

    The critical difference is q sqrt(M (M + 1) / (6 D)), q the Studentized range over sqrt(2). nan with one data set.
    Raises ContractError for missing scores or fewer than two methods.
    """
    from scipy.stats import chi2, rankdata, studentized_range

    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores) or not np.isfinite(scores).all():
        raise ContractError(f"ranks need finite scores (data sets, methods >= 2), got shape {scores.shape}")
    datasets, methods = scores.shape
    table = rankdata(-scores if higher_is_better else scores, axis=1)
    ranks = table.mean(axis=0)
    spread = ((table - (methods + 1) / 2) ** 2).sum() / (methods - 1)  # M (M + 1) / 12 a data set without ties
    between = datasets**2 * ((ranks - (methods + 1) / 2) ** 2).sum()
    p = float(chi2.sf(between / spread, methods - 1)) if spread > 0 else 1.0
    if datasets < 2:
        return Ranking(ranks, float("nan"), float("nan"), ())
    q = float(studentized_range.ppf(1 - level, methods, np.inf)) / np.sqrt(2)
    critical = float(q * np.sqrt(methods * (methods + 1) / (6 * datasets)))
    return Ranking(ranks, p, critical, _cliques(ranks, critical))


def pareto_front(cost: Sequence[float], quality: Sequence[float]) -> np.ndarray:
    """Bool (M,): no other method is at most as dear and better, or cheaper and as good; False where a value is nan."""
    price, worth = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    here = np.isfinite(price) & np.isfinite(worth)
    no_worse = (price[None] <= price[:, None]) & (worth[None] >= worth[:, None])
    better = (price[None] < price[:, None]) | (worth[None] > worth[:, None])
    return np.asarray(here & ~(no_worse & better & here[None]).any(axis=1))


def _cliques(ranks: np.ndarray, critical: float) -> tuple[tuple[int, ...], ...]:
    order, found, reached = np.argsort(ranks, kind="stable"), [], 0
    for start in range(len(order)):
        stop = int((ranks[order] <= ranks[order[start]] + critical).sum())
        if stop > max(reached, start + 1):
            found.append(tuple(int(i) for i in order[start:stop]))
        reached = max(reached, stop)
    return tuple(found)
