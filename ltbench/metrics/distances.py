"""Distances between two sets of features (n, d): Frechet, kernel, precision / recall / density / coverage.

All in float64 and without a matrix square root: tr (C1 C2)^(1/2) is the nuclear norm of F1 F2^T for any factors
C = F^T F, exact for singular covariances too.
"""

from __future__ import annotations

import numpy as np

from ltbench.errors import ContractError

CHUNK = 1000  # rows of a distance matrix held at a time


def frechet_distance(mu1: np.ndarray, cov1: np.ndarray, mu2: np.ndarray, cov2: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians with means (d,) and covariances (d, d); also d = 1 as scalars.

    Heusel et al. 2017, equation 6. Raises ContractError for shapes that differ and matrices that are no covariances.
    """
    mean1, mean2 = np.atleast_1d(np.asarray(mu1, np.float64)), np.atleast_1d(np.asarray(mu2, np.float64))
    if mean1.ndim != 1 or mean1.shape != mean2.shape:
        raise ContractError(f"means must have one shape (d,), got {mean1.shape} and {mean2.shape}")
    return _frechet(mean1, _root(cov1, len(mean1)), mean2, _root(cov2, len(mean2)))


def frechet_from_features(a: np.ndarray, b: np.ndarray, *, weights_b: np.ndarray | None = None) -> float:
    """Squared Frechet distance of the Gaussians fitted to features (n, d) and (m, d), ddof = 1.

    weights_b (m,) >= 0: weigh the rows of b, for example to the class mix of a. Also defined for n <= d, where it is
    mostly sample-size bias: compare at equal n and print a floor.
    """
    a, b = checked_features(a, b, least=2)
    if weights_b is not None:
        weights_b = np.asarray(weights_b, dtype=np.float64)
        if weights_b.shape != (len(b),) or not (weights_b >= 0).all() or (weights_b > 0).sum() < 2:
            raise ContractError(f"weights_b must be ({len(b)},), >= 0 and positive for at least 2 rows")
        b, weights_b = b[weights_b > 0], weights_b[weights_b > 0]
    return _frechet(*_factor(a), *_factor(b, weights_b))


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, size: int | None = None, seed: int = 0
) -> float:
    """Unbiased squared MMD with kernel (x.y/d + 1)^3: the mean of `kernel_distance_subsets`. May be negative."""
    return kernel_distance_subsets(a, b, subsets=subsets, size=size, seed=seed)[0]


def kernel_distance_subsets(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Mean and sd of the kernel distance of (n, d) and (m, d) over subsets of `size` = min(1000, n, m) rows.

    Rows of a subset are drawn without replacement; the sd (ddof 1) is over subsets and no confidence interval.
    Binkowski et al. 2018, section 4.
    """
    a, b = checked_features(a, b, least=2)
    smaller = min(len(a), len(b))
    size = min(1000, smaller) if size is None else size
    if not 2 <= size <= smaller or subsets < 1:
        raise ContractError(f"subset size must lie in 2..{smaller} and subsets be >= 1, got {size} and {subsets}")
    if size == len(a) == len(b):
        return _unbiased_mmd(a, b), 0.0
    rng = np.random.default_rng(seed)
    values = [
        _unbiased_mmd(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if subsets > 1 else float("nan")


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of fake (m, d) against real (n, d) features with k-NN balls.

    The radius of a ball is the distance to the k-th nearest other point of the own set; inside means strictly nearer.
    Kynkaanniemi et al. 2019 (k = 3) and Naeem et al. 2020 (k = 5).
    """
    real, fake = checked_features(real, fake, least=2)
    if not 1 <= k < min(len(real), len(fake)):
        raise ContractError(f"k must lie in 1..{min(len(real), len(fake)) - 1} (set sizes less one), got {k}")
    from scipy.spatial.distance import cdist

    real_radius, fake_radius = neighbour_radii(real, k), neighbour_radii(fake, k)
    inside = np.zeros(len(fake), dtype=np.int64)
    recalled, covered = [], []
    for start in range(0, len(real), CHUNK):
        part = slice(start, start + CHUNK)
        distance = cdist(real[part], fake)
        in_real = distance < real_radius[part, None]
        inside += in_real.sum(axis=0)
        covered.append(in_real.any(axis=1))
        recalled.append((distance < fake_radius[None, :]).any(axis=1))
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(np.concatenate(recalled).mean()),
        "density": float(inside.mean() / k),
        "coverage": float(np.concatenate(covered).mean()),
    }


def neighbour_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance (n,) of each point (n, d) to its k-th nearest other point."""
    from scipy.spatial.distance import cdist

    radii = []
    for start in range(0, len(points), CHUNK):
        distance = cdist(points[start : start + CHUNK], points)
        rows = np.arange(len(distance))
        distance[rows, rows + start] = np.inf
        radii.append(np.partition(distance, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def checked_features(a: np.ndarray, b: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 (n, d), or ContractError naming the set and the row that is wrong."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    for name, features in (("first", a), ("second", b)):
        if features.ndim != 2 or len(features) < least or features.shape[1] < 1:
            raise ContractError(f"the {name} features must be (n >= {least}, d), got {features.shape}")
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise ContractError(f"the {name} features hold nan or inf in {len(bad)} rows, first row {bad[0]}")
    if a.shape[1] != b.shape[1]:
        raise ContractError(f"features must have one dimension, got {a.shape[1]} and {b.shape[1]}; use one extractor")
    return a, b


def _factor(features: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and a factor F (n, d) of the covariance F^T F."""
    share = np.full(len(features), 1.0) if weights is None else weights
    share = share / share.sum()
    mean = share @ features
    centred = np.sqrt(share / (1 - (share**2).sum()))[:, None] * (features - mean)
    return mean, centred


def _root(cov: np.ndarray, d: int) -> np.ndarray:
    """A factor F (d, d) of a covariance F^T F."""
    cov = np.asarray(cov, np.float64).reshape((1, 1) if np.size(cov) == 1 else np.shape(cov))
    if cov.shape != (d, d) or not np.isfinite(cov).all() or not np.allclose(cov, cov.T, rtol=1e-6):
        raise ContractError(f"covariances must be finite, symmetric and ({d}, {d}), got shape {cov.shape}")
    values, vectors = np.linalg.eigh(cov)
    if values[0] < -1e-6 * max(np.abs(values).max(), 1e-300):
        raise ContractError(f"a covariance has the negative eigenvalue {values[0]:.6g}")
    values[values < np.finfo(np.float64).eps * d * values[-1]] = 0.0
    return np.sqrt(values)[:, None] * vectors.T


def _frechet(mean1: np.ndarray, factor1: np.ndarray, mean2: np.ndarray, factor2: np.ndarray) -> float:
    traces = float((factor1**2).sum() + (factor2**2).sum())
    value = float(((mean1 - mean2) ** 2).sum()) + traces - 2 * _overlap(factor1, factor2)
    if value < -1e-6 * traces:
        raise ContractError(f"the Frechet distance came out as {value:.6g}: the features are numerically unusable")
    return max(value, 0.0)


def _overlap(factor1: np.ndarray, factor2: np.ndarray) -> float:
    """tr (C1 C2)^(1/2): the nuclear norm of F1 F2^T, through triangular factors when both have more rows than d."""
    if min(len(factor1), len(factor2)) > factor1.shape[1]:
        factor1, factor2 = (np.asarray(np.linalg.qr(factor, mode="r")) for factor in (factor1, factor2))
    return float(np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum())


def _unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    n, m, d = len(x), len(y), x.shape[1]
    xx, yy, xy = ((left @ right.T / d + 1) ** 3 for left, right in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())
