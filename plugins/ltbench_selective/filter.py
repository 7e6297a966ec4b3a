"""The filter of selective augmentation, free of networks: features, centroids, distances and ranks as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltbench.errors import DataError, NonFinite
from ltbench.metrics.neighbours import nearest_distances


def unit_features(features: np.ndarray) -> np.ndarray:
    """Features (n, d) over their length (+ 1e-10), float64; a zero vector stays zero. NonFinite for nan or inf."""
    values = np.asarray(features, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        raise NonFinite(f"the features of image {int(wrong[0])} are not finite; fit the reference classifier anew")
    return values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-10)


def class_centroids(
    unit: np.ndarray, labels: np.ndarray, class_names: Sequence[str], shrink: float = 0.0
) -> np.ndarray:
    """Mean of unit features (n, d) per class, (C, d), not of unit length again; Ye et al. 2023, released code.

    shrink: as many pseudo-images at the mean of all features join every class. DataError for a class without images.
    """
    overall = unit.mean(axis=0)
    centroids = np.empty((len(class_names), unit.shape[1]))
    for k, name in enumerate(class_names):
        rows = labels == k
        if not rows.any():
            raise DataError(f"class {name!r} has no training image, so it has no centroid; choose another split")
        centroids[k] = (unit[rows].sum(axis=0) + shrink * overall) / (rows.sum() + shrink)
    return centroids


def centroid_distances(unit: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Mean over dimensions of the squared difference to every centroid, (n, C)."""
    return np.stack([((unit - centroid) ** 2).mean(axis=1) for centroid in centroids], axis=1)


def nearest_is_target(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the nearest centroid of each candidate is that of its own class, bool (n,)."""
    return distances.argmin(axis=1) == labels


def ranked(distances: np.ndarray, labels: np.ndarray, accepted: np.ndarray, wanted: int) -> np.ndarray:
    """Accepted candidates of class `wanted` by distance to its centroid, ties by index, int64 (k,)."""
    rows = np.flatnonzero(accepted & (labels == wanted))
    return rows[np.argsort(distances[rows, wanted], kind="stable")]


class CopyGuard:
    """Tells copies of training images: those no farther from one than a share of the unseen real images is.

    train (n, d) and unseen (m, d): features; share: quantile in (0, 1) of the distance of unseen images to the nearest
    training one, for example 0.01. An exact copy is always one. DataError without unseen images.
    """

    def __init__(self, train: np.ndarray, unseen: np.ndarray, share: float) -> None:
        if len(unseen) == 0:
            raise DataError("the copy guard needs validation images; choose another split, or generator.copy_guard=0")
        self.train = train
        self.floor = float(np.quantile(nearest_distances(unseen, train), share))

    def copies(self, features: np.ndarray) -> np.ndarray:
        """Which of the candidates (n, d) are copies, bool (n,)."""
        return nearest_distances(features, self.train) <= self.floor
