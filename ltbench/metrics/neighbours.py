"""Nearest neighbours of features: precision, recall, density, coverage, and whether training images were copied."""

from __future__ import annotations

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics.features import checked_pair

CHUNK = 1000  # rows of a distance matrix held at a time
MOST = 2000  # images that stand for all of them where a median is taken


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of fake (m, d) against real (n, d) features with k-NN balls.

    The radius of a ball is the distance to the k-th nearest other point of the own set; inside means strictly nearer,
    so that the ball of a point with k duplicates is empty. Kynkaanniemi et al. 2019 (k = 3), Naeem et al. 2020 (k = 5).
    """
    return prdc_at(real, fake, (k,))[k]


def prdc_at(real: np.ndarray, fake: np.ndarray, ks: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """`prdc` for several k at the price of one."""
    real, fake = checked_pair(real, fake)
    if not all(1 <= k < min(len(real), len(fake)) for k in ks):
        raise ContractError(f"k must lie in 1..{min(len(real), len(fake)) - 1} (set sizes less one), got {ks}")
    if not ks:
        return {}
    from scipy.spatial.distance import cdist

    real_radii, fake_radii = neighbour_radii(real, *ks), neighbour_radii(fake, *ks)
    inside = {k: np.zeros(len(fake), dtype=np.int64) for k in ks}
    recalled, covered = dict.fromkeys(ks, 0), dict.fromkeys(ks, 0)
    for start in range(0, len(real), CHUNK):
        distance = cdist(real[start : start + CHUNK], fake)
        for column, k in enumerate(ks):
            in_real = distance < real_radii[start : start + CHUNK, column, None]
            inside[k] += in_real.sum(axis=0)
            covered[k] += int(in_real.any(axis=1).sum())
            recalled[k] += int((distance < fake_radii[None, :, column]).any(axis=1).sum())
    return {
        k: {
            "precision": float((inside[k] > 0).mean()),
            "recall": recalled[k] / len(real),
            "density": float(inside[k].mean() / k),
            "coverage": covered[k] / len(real),
        }
        for k in ks
    }


def neighbour_radii(points: np.ndarray, *ks: int) -> np.ndarray:
    """Distance (n, len(ks)) of each point (n, d) to its k-th nearest other point."""
    from scipy.spatial.distance import cdist

    radii = []
    for start in range(0, len(points), CHUNK):
        distance = cdist(points[start : start + CHUNK], points)
        rows = np.arange(len(distance))
        distance[rows, rows + start] = np.inf
        places = [k - 1 for k in ks]
        radii.append(np.partition(distance, places, axis=1)[:, places])
    return np.concatenate(radii)


def nearest_distances(queries: np.ndarray, points: np.ndarray, k: int = 1) -> np.ndarray:
    """Distance (q,) of each query (q, d) to its k-th nearest point (n, d); for members of the points k = 2."""
    from scipy.spatial.distance import cdist

    width = max(1, CHUNK * CHUNK // max(len(points), 1))
    chunks = [cdist(queries[start : start + width], points) for start in range(0, len(queries), width)]
    return np.concatenate([np.partition(distance, k - 1, axis=1)[:, k - 1] for distance in chunks])


def copy_ratio(train: np.ndarray, fake: np.ndarray, held_out: np.ndarray | None = None) -> float:
    """Median distance of fake features to the nearest training one, over that of held-out real ones.

    About 1 for new images, 0 for copies. The first 2,000 of fake and held_out are looked up among all training ones.
    Without held-out features (m, d), training ones are compared with the others. nan where the reference is 0.
    """
    train, fake = checked_pair(train, fake, 1)
    if held_out is None:
        if len(train) < 2:
            raise ContractError("copy_ratio without held-out features needs 2 training ones, got 1")
        reference = nearest_distances(train[:MOST], train, k=2)
    else:
        reference = nearest_distances(checked_pair(train, held_out, 1)[1][:MOST], train)
    usual = float(np.median(reference))
    return float(np.median(nearest_distances(fake[:MOST], train))) / usual if usual > 0 else float("nan")
