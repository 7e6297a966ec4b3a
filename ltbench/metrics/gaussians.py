"""The Frechet distance of Gaussians in factored form, in float64 and without a matrix square root.

tr (C1 C2)^(1/2) is the nuclear norm of F1 F2^T for any factors C = F^T F, exact for singular covariances too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics.features import Names, checked, same_dimension

CHUNK = 20000  # rows held centred at a time; more are merged
GRAM_FROM = 256  # dimensions from which eigenvalues of F1 C2 F1^T are tried before singular values
GRAM_CONDITION = 1e-10  # least over largest eigenvalue that keeps eight digits of the square roots


@dataclass(frozen=True)
class FeatureStats:
    """Gaussian of n features: mean (d,) and a factor (r, d) of the covariance factor^T factor, ddof 1.

    weighted: made with weights, so it cannot be merged.
    """

    n: int
    mean: np.ndarray
    factor: np.ndarray
    weighted: bool = False

    @classmethod
    def of(cls, features: np.ndarray, weights: np.ndarray | None = None, names: Names = None) -> FeatureStats:
        """Statistics of features (n >= 2, d); weights (n,) >= 0 weigh the rows, in sum they are one sample."""
        features = checked(features, "given", names=names)
        if weights is None and len(features) > CHUNK:
            return cls.merged(cls.of(part) for part in np.array_split(features, -(-len(features) // CHUNK)))
        share = np.ones(len(features)) if weights is None else np.asarray(weights, dtype=np.float64)
        if share.shape != (len(features),) or not (share >= 0).all() or (share > 0).sum() < 2:
            raise ContractError(f"weights must be ({len(features)},), >= 0 and positive for at least 2 rows")
        features, share = features[share > 0], share[share > 0] / share.sum()
        mean = share @ features
        factor = np.sqrt(share / (1 - (share**2).sum()))[:, None] * (features - mean)
        return cls(len(features), mean, factor, weights is not None)

    @classmethod
    def merged(cls, parts: Iterable[FeatureStats]) -> FeatureStats:
        """Statistics of the union of the parts."""
        return functools.reduce(cls.merge, parts)

    def merge(self, other: FeatureStats) -> FeatureStats:
        """Statistics of the union; Chan et al. 1983, on triangular factors instead of scatter matrices."""
        same_dimension(len(self.mean), len(other.mean))
        if self.weighted or other.weighted:
            raise ContractError("weighted statistics cannot be merged; weigh the union of the features instead")
        n, gap = self.n + other.n, other.mean - self.mean
        between = np.sqrt(self.n * other.n / n) * gap[None]
        within = [np.sqrt(s.n - 1) * s.factor for s in (self, other)]
        rows = np.concatenate([*within, between]) / np.sqrt(n - 1)
        return FeatureStats(n, self.mean + gap * (other.n / n), rows).compact()

    def compact(self) -> FeatureStats:
        """The same with a factor of at most d rows."""
        if len(self.factor) <= self.factor.shape[1]:
            return self
        return FeatureStats(self.n, self.mean, _triangular(self.factor), self.weighted)

    @property
    def trace(self) -> float:
        """Trace of the covariance."""
        return float((self.factor**2).sum())


@dataclass(frozen=True)
class Frechet:
    """A squared Frechet distance with its parts; rank_deficient: n <= d on a side, so bias prevails."""

    value: float
    mean_term: float
    cov_term: float
    rank_deficient: bool
    n1: int
    n2: int


def frechet(a: FeatureStats, b: FeatureStats) -> Frechet:
    """Squared Frechet distance of two Gaussians; Heusel et al. 2017, equation 6.

    ContractError where the dimensions differ or the result is negative beyond rounding.
    """
    same_dimension(len(a.mean), len(b.mean))
    traces, mean_term = a.trace + b.trace, float(((a.mean - b.mean) ** 2).sum())
    cov_term = traces - 2 * _overlap(a.factor, b.factor)
    if mean_term + cov_term < -1e-6 * traces:
        raise ContractError(f"the Frechet distance came out as {mean_term + cov_term:.6g}: the features are unusable")
    deficient = min(a.n, b.n) <= len(a.mean)
    return Frechet(max(mean_term + cov_term, 0.0), mean_term, cov_term, deficient, a.n, b.n)


def frechet_distance(mu1: np.ndarray, cov1: np.ndarray, mu2: np.ndarray, cov2: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians with means (d,) and covariances (d, d); also d = 1 as scalars.

    Raises ContractError for shapes that differ and matrices that are no covariances.
    """
    mean1, mean2 = np.atleast_1d(np.asarray(mu1, np.float64)), np.atleast_1d(np.asarray(mu2, np.float64))
    if mean1.ndim != 1 or mean1.shape != mean2.shape:
        raise ContractError(f"means must have one shape (d,), got {mean1.shape} and {mean2.shape}")
    d = len(mean1)
    return frechet(FeatureStats(d + 1, mean1, _root(cov1, d)), FeatureStats(d + 1, mean2, _root(cov2, d))).value


def frechet_from_features(a: np.ndarray, b: np.ndarray, *, weights_b: np.ndarray | None = None) -> float:
    """Squared Frechet distance of the Gaussians fitted to features (n, d) and (m, d), ddof = 1.

    weights_b (m,) >= 0: weigh the rows of b, for example to the class mix of a. Also defined for n <= d, where it is
    mostly sample-size bias: compare at equal n and print a floor.
    """
    a, b = checked(a, "first"), checked(b, "second")
    return frechet(FeatureStats.of(a), FeatureStats.of(b, weights_b)).value


@dataclass(frozen=True)
class Extrapolated:
    """The intercept of the Frechet distance on 1/n, and the distances that it was drawn through."""

    value: float
    sizes: tuple[int, ...] = field(default=())
    distances: tuple[float, ...] = field(default=())


def frechet_infinity(
    real: FeatureStats, fake: np.ndarray, rng: np.random.Generator, sizes: Sequence[int] | None = None
) -> Extrapolated:
    """The distance of fake features (n, d) to `real` at n = infinity: a line in 1/n through 15 sizes, its intercept.

    Takes the bias of the fake side away, that of the real side stays. Chong and Forsyth 2020. ContractError for fewer
    than 2 sizes, or sizes outside 2..n. The line holds where the sizes exceed d.
    """
    fake = checked(fake, "fake")
    if sizes is None:
        sizes = np.unique(np.linspace(max(len(fake) // 4, 2), len(fake), 15).round().astype(int)).tolist()
    chosen = [int(n) for n in sizes]
    if len(set(chosen)) < 2 or min(chosen) < 2 or max(chosen) > len(fake):
        raise ContractError(f"sizes must be at least 2 different numbers in 2..{len(fake)}, got {chosen}")
    found = [frechet(real, FeatureStats.of(fake[rng.permutation(len(fake))[:n]])).value for n in chosen]
    _, intercept = np.polyfit(1 / np.array(chosen, np.float64), found, 1)
    return Extrapolated(float(intercept), tuple(chosen), tuple(found))


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


def _triangular(factor: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(factor, mode="r"))


def _overlap(factor1: np.ndarray, factor2: np.ndarray) -> float:
    """tr (C1 C2)^(1/2): the nuclear norm of F1 F2^T.

    Through triangular factors when both have more rows than d; by eigenvalues, four times faster, where they are
    many and far enough from 0.
    """
    d = factor1.shape[1]
    if min(len(factor1), len(factor2)) >= d >= GRAM_FROM:
        small, large = sorted((factor1, factor2), key=len)
        root = _triangular(small) if len(small) > d else small
        values = np.linalg.eigvalsh(root @ (large.T @ large) @ root.T)
        if values[0] > GRAM_CONDITION * values[-1]:
            return float(np.sqrt(values).sum())
    if min(len(factor1), len(factor2)) > d:
        factor1, factor2 = _triangular(factor1), _triangular(factor2)
    return float(np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum())
