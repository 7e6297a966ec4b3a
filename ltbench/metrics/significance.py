"""Tests between methods, their correction for number, and what more data could show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltbench.errors import ContractError

POWER = 0.8
MOST_RUNS = 1000


def mcnemar(y_true: np.ndarray, pred_a: np.ndarray, pred_b: np.ndarray) -> tuple[int, int, float]:
    """Images that only a gets right, that only b gets right, and the exact two-sided p value."""
    from scipy.stats import binomtest

    right_a, right_b = np.asarray(pred_a) == np.asarray(y_true), np.asarray(pred_b) == np.asarray(y_true)
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def sign_flip(differences: np.ndarray) -> float:
    """Exact two-sided p value that the signs of whole numbers (n,) are those of fair coins.

    The distribution of the sum is convolved image by image; for differences in {-1, 0, 1} this is McNemar's exact
    test, for sums over seeds its extension that keeps an image's seeds together.
    """
    sizes, times = np.unique(np.abs(np.asarray(differences, dtype=np.int64)), return_counts=True)
    law = np.ones(1)
    for size, count in zip(sizes.tolist(), times.tolist(), strict=True):
        for _ in range(count if size else 0):
            wider = np.zeros(len(law) + 2 * size)
            wider[: len(law)] = law / 2
            wider[2 * size :] += law / 2
            law = wider
    sums = np.abs(np.arange(len(law)) - (len(law) - 1) // 2)
    return float(min(1.0, law[sums >= abs(int(np.sum(differences)))].sum()))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p values (m,) that keep the chance of any false positive (Holm 1979); nan is left out of the number."""
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise ContractError(f"p values must lie in 0..1, got {p.tolist()}")
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return adjusted


def smallest_wilcoxon_p(n: int) -> float:
    """The least two-sided p value that the exact Wilcoxon signed-rank test of n pairs can give: 2 / 2**n."""
    return min(1.0, 2.0 ** (1 - n))


def seeds_can_show(n: int, level: float = 0.05) -> bool:
    """Whether n paired seeds can reach significance at all, by the exact Wilcoxon test: six at 5 %."""
    return smallest_wilcoxon_p(n) <= level


@dataclass(frozen=True)
class Precision:
    """Standard errors of a difference averaged over k paired runs: `images` of the test part, `run` of one run.

    A run is a seed where all share one test part (run: sd over seeds, ddof 1), else a split (run: what a split's mean
    over seeds spreads, and its own images with it, so that `images` is 0). run: nan for one run.
    """

    images: float
    run: float
    k: int

    def detectable(self, k: int | None = None, *, level: float = 0.05, power: float = POWER) -> float:
        """The smallest true difference found with this power at this level by k runs; nan for one run."""
        from scipy.stats import t

        k = self.k if k is None else k
        if np.isnan(self.run) or k < 2:
            return float("nan")
        runs = self.run**2 / k
        total = runs + self.images**2
        # Welch and Satterthwaite; the image part is estimated from many images
        df = np.inf if runs == 0 else total**2 / (runs**2 / (k - 1))
        return float((t.ppf(1 - level / 2, df) + t.ppf(power, df)) * np.sqrt(total))

    def more(self, difference: float, *, level: float = 0.05) -> int | None:
        """How many more runs would separate the methods if `difference` is the true one; None where none would.

        None: the test part is too small for it, or the spread of runs is unknown.
        """
        for k in range(max(self.k, 2), MOST_RUNS):
            if self.detectable(k, level=level) <= abs(difference):
                return k - self.k
        return None
