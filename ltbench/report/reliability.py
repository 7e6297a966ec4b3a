"""Calibration by bins of confidence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 15  # as `ltbench.metrics.scores.expected_calibration_error`


class Bin(NamedTuple):
    """Images whose largest probability lies in (low, high]: how many, mean confidence, share that is right."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins that hold images; confidence float (N,) in [0, 1], right bool (N,) (Guo et al. 2017, section 3)."""
    confidence = np.asarray(confidence, dtype=float)
    index = np.clip(np.ceil(confidence * bins - 1e-12).astype(np.int64) - 1, 0, bins - 1)
    images, sums, hits = (np.bincount(index, weights, bins) for weights in (None, confidence, right.astype(float)))
    return tuple(
        Bin(k / bins, (k + 1) / bins, int(images[k]), float(sums[k] / images[k]), float(hits[k] / images[k]))
        for k in np.flatnonzero(images)
    )
