"""Paired statistics of two classifiers on the same images: bootstrap intervals and McNemar's test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics.classification import confusion_matrix, from_confusion

KEYS = ("macro_f1", "balanced_accuracy", "mcc")


def bootstrap_difference(
    y_true: Sequence[np.ndarray],
    pred_a: Sequence[np.ndarray],
    pred_b: Sequence[np.ndarray],
    num_classes: int,
    *,
    keys: Sequence[str] = KEYS,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Metric key -> (b - a, low, high): the difference averaged over paired runs, with a percentile interval.

    Each argument lists one label vector (n,) per run. Images are resampled with replacement within each run, the
    same ones for both sides (a multinomial over the distinct triples of true and predicted labels).
    """
    if not len(y_true) == len(pred_a) == len(pred_b) or not y_true:
        raise ContractError(f"paired runs are needed, got {len(y_true)}, {len(pred_a)} and {len(pred_b)}")
    rng = np.random.default_rng(seed)
    points = np.zeros((len(keys), 1))
    draws = np.zeros((len(keys), resamples))
    for truth, a, b in zip(y_true, pred_a, pred_b, strict=True):
        confusion_matrix(truth, a, num_classes), confusion_matrix(truth, b, num_classes)
        triples, count = np.unique(np.stack([truth, a, b]), axis=1, return_counts=True)
        sampled = rng.multinomial(len(truth), count / len(truth), size=resamples)
        points += _differences(triples, count[None], num_classes, keys) / len(y_true)
        draws += _differences(triples, sampled, num_classes, keys) / len(y_true)
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=1)
    return {key: (float(points[i, 0]), float(low[i]), float(high[i])) for i, key in enumerate(keys)}


def mcnemar(y_true: np.ndarray, pred_a: np.ndarray, pred_b: np.ndarray) -> tuple[int, int, float]:
    """Images that only a gets right, that only b gets right, and the exact two-sided p value."""
    from scipy.stats import binomtest

    right_a, right_b = np.asarray(pred_a) == np.asarray(y_true), np.asarray(pred_b) == np.asarray(y_true)
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def _differences(triples: np.ndarray, counts: np.ndarray, num_classes: int, keys: Sequence[str]) -> np.ndarray:
    """Metric of b less metric of a, (keys, R), for counts (R, G) of the label triples (3, G)."""
    truth, *sides = triples.astype(np.int64)
    metrics = []
    for pred in sides:
        cells = np.zeros((len(truth), num_classes**2))
        cells[np.arange(len(truth)), truth * num_classes + pred] = 1
        matrices = (counts @ cells).reshape(-1, num_classes, num_classes)
        metrics.append(from_confusion(matrices))
    return np.stack([metrics[1][key] - metrics[0][key] for key in keys])
