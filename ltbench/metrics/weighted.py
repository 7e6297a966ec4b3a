"""Metrics of probabilities for many image weights at once: what `scores` computes, R times."""

from __future__ import annotations

import numpy as np


def weighted_auc(y_true: np.ndarray, probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`scores.auc` (R,) under weights (R, n) of whole numbers: one sort a class serves all of them."""
    columns = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    images = np.ascontiguousarray(weights.T, dtype=np.float32)  # (n, R): rows are gathered, sums run down
    values = np.stack([_binary(y_true == c, probs[:, c], images) for c in columns])
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)


def _binary(positive: np.ndarray, score: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Area of one class against the rest (R,); the smaller side is looked up in the running sums of the other."""
    few, many = (positive, ~positive) if 2 * positive.sum() <= len(positive) else (~positive, positive)
    rows = np.flatnonzero(many)[np.argsort(score[many], kind="stable")]
    own = images[few].astype(np.float64)
    below = np.zeros((len(rows) + 1, images.shape[1]), dtype=np.float32)  # exact up to 2**24 images
    np.cumsum(images[rows], axis=0, out=below[1:])
    left = np.searchsorted(score[rows], score[few], side="left")
    right = np.searchsorted(score[rows], score[few], side="right")
    won = (own * (below[left].astype(np.float64) + below[right])).sum(axis=0) / 2
    pairs = own.sum(axis=0) * below[-1].astype(np.float64)
    area = np.divide(won, pairs, out=np.full(images.shape[1], np.nan), where=pairs > 0)
    return area if few is positive else 1 - area


def weighted_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray, bins: int = 15
) -> np.ndarray:
    """`scores.expected_calibration_error` (R,) under weights (R, n)."""
    index = np.clip(np.ceil(confidence * bins - 1e-12).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.zeros((len(index), bins))
    gaps[np.arange(len(index)), index] = correct - confidence
    used = np.unique(index)
    return np.abs(weights.astype(np.float64) @ gaps[:, used]).sum(axis=1) / weights.sum(axis=1, dtype=np.float64)


def weighted_likelihood(y_true: np.ndarray, probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`scores.negative_log_likelihood` (R,) under weights (R, n)."""
    return _weighted_mean(-np.log(np.maximum(probs[np.arange(len(y_true)), y_true], 1e-12)), weights)


def weighted_brier(y_true: np.ndarray, probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`scores.brier` (R,) under weights (R, n)."""
    return _weighted_mean(((probs - np.eye(probs.shape[1])[y_true]) ** 2).sum(axis=1), weights)


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights.astype(np.float64) @ values) / weights.sum(axis=1, dtype=np.float64)
