"""The kernel distance (KID): unbiased squared maximum mean discrepancy with a cubic kernel, in float64."""

from __future__ import annotations

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics.features import checked_pair

CHUNK = 1000  # rows of a kernel matrix held at a time


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, size: int | None = None, seed: int = 0
) -> float:
    """Unbiased squared MMD with kernel (x.y/d + 1)^3: the mean of `kernel_distance_subsets`. May be negative."""
    return kernel_distance_subsets(a, b, subsets=subsets, size=size, seed=seed)[0]


def kernel_distance_subsets(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Mean and sd of the kernel distance of (n, d) and (m, d) over subsets of `size` = min(1000, n, m) rows.

    Rows of a subset are drawn without replacement; the sd (ddof 1) is over subsets and no confidence interval, and 0
    where each subset is the whole. Binkowski et al. 2018, section 4.
    """
    a, b = checked_pair(a, b)
    smaller = min(len(a), len(b))
    size = min(1000, smaller) if size is None else size
    if not 2 <= size <= smaller or subsets < 1:
        raise ContractError(f"subset size must lie in 2..{smaller} and subsets be >= 1, got {size} and {subsets}")
    if size == len(a) == len(b):
        return float(_mmd(a, b, np.ones((len(a), 1)), np.ones((len(b), 1)))[0]), 0.0
    rng = np.random.default_rng(seed)
    drawn = [(rng.choice(len(a), size, replace=False), rng.choice(len(b), size, replace=False)) for _ in range(subsets)]
    whole = (len(a) ** 2 + len(b) ** 2 + len(a) * len(b)) * (a.shape[1] + subsets)
    if whole < 3 * size**2 * a.shape[1] * subsets:
        in_a, in_b = np.zeros((len(a), subsets)), np.zeros((len(b), subsets))
        for column, (rows, others) in enumerate(drawn):
            in_a[rows, column], in_b[others, column] = 1.0, 1.0
        values = _mmd(a, b, in_a, in_b)
    else:
        every = np.ones((size, 1))
        values = np.concatenate([_mmd(a[rows], b[others], every, every) for rows, others in drawn])
    return float(np.mean(values)), float(np.std(values, ddof=1)) if subsets > 1 else float("nan")


def _mmd(x: np.ndarray, y: np.ndarray, in_x: np.ndarray, in_y: np.ndarray) -> np.ndarray:
    """Unbiased MMD^2 (s,) of s subsets of x and y, given by columns of zeros and ones (n, s) and (m, s)."""
    n, m = in_x[:, 0].sum(), in_y[:, 0].sum()
    within = _sums(x, x, in_x, in_x, True) / (n * (n - 1)) + _sums(y, y, in_y, in_y, True) / (m * (m - 1))
    return within - 2 * _sums(x, y, in_x, in_y, False) / (n * m)


def _sums(x: np.ndarray, y: np.ndarray, in_x: np.ndarray, in_y: np.ndarray, own: bool) -> np.ndarray:
    """Sum of the kernel over all pairs of each subset; own: without the pairs of a row with itself."""
    total, d = np.zeros(in_x.shape[1]), x.shape[1]
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        kernel = (x[part] @ y.T / d + 1) ** 3
        if own:
            rows = np.arange(len(kernel))
            kernel[rows, rows + start] = 0.0
        total += ((kernel @ in_y) * in_x[part]).sum(axis=0)
    return total
