"""Resampled test images: weights, confusion matrices, and what intervals and p values are read from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics.classification import checked_predictions, confusion_matrix, from_confusion
from ltbench.metrics.weighted import weighted_auc, weighted_brier, weighted_calibration_error, weighted_likelihood

BLOCK = 1 << 24  # weights in memory at a time
OF_PROBS = {"auc": weighted_auc, "nll": weighted_likelihood, "brier": weighted_brier}


def image_weights(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of n images is drawn in n draws with replacement: float32 (R, n) of whole numbers."""
    if n < 1 or resamples < 1:
        raise ContractError(f"resampling needs at least one image and one sample, got n={n}, resamples={resamples}")
    rows = rng.integers(n, size=(resamples, n))
    rows += n * np.arange(resamples)[:, None]
    return np.bincount(rows.reshape(-1), minlength=resamples * n).reshape(resamples, n).astype(np.float32)


def resampled_confusions(y_true: np.ndarray, pred: np.ndarray, num_classes: int, weights: np.ndarray) -> np.ndarray:
    """Confusion matrices float64 (R, C, C) of labels (n,) and (n,) under image weights (R, n)."""
    confusion_matrix(y_true, pred, num_classes)  # labels in range
    pairs, index = np.unique(y_true.astype(np.int64) * num_classes + pred, return_inverse=True)
    member = np.zeros((len(index), len(pairs)), dtype=np.float32)
    member[np.arange(len(index)), index] = 1
    flat = np.zeros((len(weights), num_classes**2))
    flat[:, pairs] = weights @ member
    return flat.reshape(-1, num_classes, num_classes)


def weight_blocks(n: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The weights of `image_weights` in blocks (r, n) that fit in memory, R rows in all."""
    most = max(1, BLOCK // max(n, 1))
    for start in range(0, max(resamples, 1), most):
        yield image_weights(n, min(resamples - start, most), rng)


def metric_draws(
    y_true: np.ndarray, preds: Sequence[np.ndarray], num_classes: int, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Metrics of several predictions (m, n) on the same resampled images: (m, R), per-class ones (m, R, C).

    The pairing is in the weights: what two rows share by having hard or easy images drawn cancels in their difference.
    """
    parts = [
        from_confusion(np.stack([resampled_confusions(y_true, p, num_classes, weights) for p in preds]))
        for weights in weight_blocks(len(y_true), resamples, rng)
    ]
    return {key: np.concatenate([part[key] for part in parts], axis=1) for key in parts[0]}


def multinomial_confusions(matrix: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Confusion matrices (R, C, C) drawn as multinomials from one (C, C): the law of resampling its images."""
    matrix = np.asarray(matrix)
    flat, drawn = matrix.reshape(-1), np.zeros((resamples, matrix.size))
    filled, total = np.flatnonzero(flat), int(flat.sum())
    if total < 1:
        raise ContractError("a confusion matrix without images cannot be resampled")
    drawn[:, filled] = rng.multinomial(total, flat[filled] / total, size=resamples)
    return drawn.reshape(resamples, *matrix.shape)


def confusion_intervals(
    matrix: np.ndarray, keys: Sequence[str], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Metric key -> percentile interval over the images behind a confusion matrix (C, C)."""
    drawn = from_confusion(multinomial_confusions(matrix, resamples, np.random.default_rng(seed)))
    return {key: interval(drawn[key], level) for key in keys}


def bootstrap_metrics(y_true: np.ndarray, probs: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Every metric of `classification` on resampled images: float64 (R,), per-class ones (R, C).

    y_true int (n,), probs (n, C). All metrics of one sample come from the same images; nan where undefined in it.
    """
    y_true, probs = checked_predictions(y_true, probs)
    pred, classes, n = probs.argmax(axis=1), probs.shape[1], len(probs)
    parts = [
        {
            **from_confusion(resampled_confusions(y_true, pred, classes, weights)),
            **{key: function(y_true, probs, weights) for key, function in OF_PROBS.items()},
            "ece": weighted_calibration_error(probs.max(axis=1), pred == y_true, weights),
        }
        for weights in weight_blocks(n, resamples, np.random.default_rng(seed))
    ]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of draws (R,), nan ones left out; (nan, nan) where all are."""
    kept = draws[~np.isnan(draws)]
    if len(kept) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(draws: np.ndarray) -> float:
    """Two-sided p value of "the difference is zero" from bootstrap draws (R,) of it; at least 2 / (R + 1).

    Twice the share of draws on the rarer side of zero, zeros on both (Efron and Tibshirani 1993, chapter 15).
    """
    kept = draws[~np.isnan(draws)]
    if len(kept) == 0:
        return float("nan")
    rarer = min((kept <= 0).sum(), (kept >= 0).sum())
    return float(min(1.0, 2 * (1 + rarer) / (1 + len(kept))))
