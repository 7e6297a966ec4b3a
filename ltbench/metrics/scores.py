"""Metrics that read the probabilities themselves: AUC, calibration error, likelihood, Brier score."""

from __future__ import annotations

import numpy as np


def auc(y_true: np.ndarray, probs: np.ndarray) -> float:
    """Area under the ROC curve: of class 1 for two classes, else one-vs-rest averaged over the defined classes.

    y_true (n,), probs (n, C). A class is defined with at least one image of it and one of another; ties count 1/2.
    nan when no class is defined.
    """
    columns = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    values = [_binary_auc(y_true == c, probs[:, c]) for c in columns]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _binary_auc(positive: np.ndarray, score: np.ndarray) -> float:
    yes, no = score[positive], np.sort(score[~positive])
    if len(yes) == 0 or len(no) == 0:
        return float("nan")
    below = np.searchsorted(no, yes, side="left") + np.searchsorted(no, yes, side="right")
    return float(below.sum(dtype=np.float64) / (2.0 * len(yes) * len(no)))


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean over images of |accuracy - confidence| of their bin; equal-width bins (lo, hi], empty ones skipped.

    confidence (n,) of the predicted class, correct (n,). nan for n = 0.
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if len(confidence) == 0:
        return float("nan")
    index = np.clip(np.ceil(confidence * bins - 1e-12).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def negative_log_likelihood(y_true: np.ndarray, probs: np.ndarray) -> float:
    """Mean of -ln p of the true class in nats, p clipped at 1e-12 from below; nan for n = 0."""
    if len(y_true) == 0:
        return float("nan")
    return float(-np.log(np.maximum(probs[np.arange(len(y_true)), y_true], 1e-12)).mean())


def brier(y_true: np.ndarray, probs: np.ndarray) -> float:
    """Mean squared distance of the probabilities to the one-hot label, summed over all C classes, 0 to 2."""
    if len(y_true) == 0:
        return float("nan")
    return float(((probs - np.eye(probs.shape[1])[y_true]) ** 2).sum(axis=1).mean())
