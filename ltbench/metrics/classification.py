"""Every number about predictions on a whole split, counted from its confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ltbench.errors import ContractError
from ltbench.metrics import scores
from ltbench.metrics.groups import NAMES, Groups, checked_counts, class_groups

SUM_TOLERANCE = 1e-3
RENORMALISE = 1e-6  # float32 rounding stays as it is, so that equal scores stay ties


def classification(
    y_true: np.ndarray,
    probs: np.ndarray,
    train_counts: np.ndarray | None = None,
    groups: Groups | None = None,
) -> dict[str, Any]:
    """All classification metrics as fractions in [0, 1], nan with an entry in "warnings" where undefined.

    y_true int (n,), probs (n, C) with rows summing to 1, train_counts (C,) of real training images; the predicted
    class is the argmax, ties to the lowest index, and the label set is always range(C). groups: see `class_groups`.
    Raises ContractError for wrong shapes, labels out of range and rows that are no probabilities.
    """
    y_true, probs = checked_predictions(y_true, probs)
    num_classes = probs.shape[1]
    if train_counts is not None:
        checked_counts(train_counts, num_classes)
    pred = probs.argmax(axis=1)
    matrix = confusion_matrix(y_true, pred, num_classes)
    point = from_confusion(matrix)
    warnings = _warnings(matrix, point)
    shots = _group_means(point["per_class_recall"], class_groups(train_counts, num_classes, groups), warnings)
    area = scores.auc(y_true, probs)
    if np.isnan(area):
        warnings.append("auc is undefined: no class has both an image of it and one of another class")
    return {
        **{key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in point.items()},
        **shots,
        "auc": area,
        "ece": scores.expected_calibration_error(probs.max(axis=1), pred == y_true),
        "nll": scores.negative_log_likelihood(y_true, probs),
        "brier": scores.brier(y_true, probs),
        "confusion": matrix.tolist(),
        "n_absent": int((matrix.sum(axis=1) == 0).sum()),
        "warnings": warnings,
    }


def macro_f1(y_true: np.ndarray, pred: np.ndarray, num_classes: int) -> float:
    """Unweighted mean F1 over the classes that are true or predicted somewhere, from labels (n,) and (n,)."""
    matrix = confusion_matrix(np.asarray(y_true), np.asarray(pred), num_classes)
    return float(from_confusion(matrix)["macro_f1"])


def confusion_matrix(y_true: np.ndarray, pred: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts int64 (C, C), rows = true class; raises ContractError for labels outside 0..C-1."""
    for name, labels in (("y_true", y_true), ("predicted labels", pred)):
        if labels.ndim != 1 or len(labels) != len(y_true):
            raise ContractError(f"{name} must have shape ({len(y_true)},), got {labels.shape}")
        if labels.size and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_classes):
            raise ContractError(
                f"{name} must be integers in 0..{num_classes - 1}, got {labels.dtype} from {labels.min()} to "
                f"{labels.max()}; the label set comes from the data set, not from a split"
            )
    pairs = y_true.astype(np.int64) * num_classes + pred.astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def from_confusion(matrix: np.ndarray, only: str | None = None) -> dict[str, Any]:
    """Point metrics of confusion matrices (..., C, C), rows = true class: values (...), per-class ones (..., C).

    only: this one alone, for many matrices at once.

    A class counts in recall if it is in y_true, in precision and F1 if it is true or predicted somewhere (0 when
    present and never predicted), in specificity if another class is in y_true. Floats for a single matrix.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    support, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    total = support.sum(axis=-1)
    rest = total[..., None] - support
    right = hits.sum(axis=-1)

    @cache
    def recall() -> np.ndarray:
        return _ratio(hits, support)

    @cache
    def precision() -> np.ndarray:
        return np.where((predicted == 0) & (support > 0), 0.0, _ratio(hits, predicted))

    @cache
    def f1() -> np.ndarray:
        return _ratio(2 * hits, support + predicted)

    @cache
    def specificity() -> np.ndarray:
        return _ratio(rest - (predicted - hits), rest)

    made: dict[str, Callable[[], np.ndarray]] = {
        "accuracy": lambda: _ratio(right, total),
        "balanced_accuracy": lambda: _mean(recall()),
        "macro_recall": lambda: _mean(recall()),
        "weighted_recall": lambda: _ratio(right, total),  # an identity
        "macro_precision": lambda: _mean(precision()),
        "macro_f1": lambda: _mean(f1()),
        "weighted_f1": lambda: _weighted(f1(), support),
        "macro_specificity": lambda: _mean(specificity()),
        "weighted_specificity": lambda: _weighted(specificity(), support),
        "mcc": lambda: _mcc(right, support, predicted, total),
        "quadratic_kappa": lambda: _quadratic_kappa(matrix, support, predicted, total),
        "per_class_recall": recall,
        "per_class_precision": precision,
        "per_class_f1": f1,
    }
    values = {key: make() for key, make in made.items() if only in (None, key)}
    return {key: float(value) if np.ndim(value) == 0 else value for key, value in values.items()}


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    top, bottom = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _weighted(values: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Mean over classes in proportion to their images; nan where a class with images has no value."""
    return _ratio(np.where(support > 0, values * support, 0.0).sum(axis=-1), support.sum(axis=-1))


def _mcc(correct: np.ndarray, support: np.ndarray, predicted: np.ndarray, total: np.ndarray) -> np.ndarray:
    top = correct * total - (predicted * support).sum(axis=-1)
    square = (total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (support**2).sum(axis=-1))
    value = np.divide(top, np.sqrt(square), out=np.zeros_like(top), where=square > 0)
    return np.where(total > 0, value, np.nan)


def _quadratic_kappa(matrix: np.ndarray, support: np.ndarray, predicted: np.ndarray, total: np.ndarray) -> np.ndarray:
    index = np.arange(matrix.shape[-1])
    weight = (index[:, None] - index[None, :]) ** 2
    expected = (weight * support[..., :, None] * predicted[..., None, :]).sum(axis=(-2, -1))
    return 1.0 - _ratio((weight * matrix).sum(axis=(-2, -1)) * total, expected)


def _group_means(recall: np.ndarray, chosen: dict[str, np.ndarray] | None, warnings: list[str]) -> dict[str, float]:
    if chosen is None:
        return {f"{name}_accuracy": float("nan") for name in NAMES}
    values = {name: float(_mean(recall[rows])) for name, rows in chosen.items()}
    for name, rows in chosen.items():
        if np.isnan(values[name]):
            reason = "it has no class" if len(rows) == 0 else "no image of its classes is in this split"
            warnings.append(f"{name}_accuracy is undefined: {reason}")
    return {f"{name}_accuracy": value for name, value in values.items()}


def _warnings(matrix: np.ndarray, point: dict[str, Any]) -> list[str]:
    support, num_classes = matrix.sum(axis=1), len(matrix)
    absent = np.flatnonzero(support == 0)
    found = []
    if support.sum() == 0:
        return ["the split has no image: every metric is undefined"]
    if len(absent):
        found.append(
            f"{len(absent)} of {num_classes} classes have no image in this split ({', '.join(map(str, absent))}): "
            "left out of recall, balanced accuracy and AUC"
        )
    if len(absent) == num_classes - 1:
        found.append(f"every image is of class {support.argmax()}: its specificity is undefined and left out")
    if np.isnan(point["quadratic_kappa"]):
        found.append("quadratic_kappa is undefined: one class holds every label and every prediction")
    return found


def checked_predictions(y_true: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (n,) and probabilities float64 (n, C); ContractError for what is neither."""
    y_true, probs = np.asarray(y_true), np.asarray(probs)
    if probs.ndim != 2 or probs.shape[1] < 2:
        raise ContractError(f"probs must have shape (n, C) with C >= 2, got {probs.shape}")
    if y_true.shape != (len(probs),):
        raise ContractError(f"y_true must have shape ({len(probs)},) like probs {probs.shape}, got {y_true.shape}")
    if y_true.size == 0:
        y_true = y_true.astype(np.int64)
    confusion_matrix(y_true, y_true, probs.shape[1])  # labels in range
    if probs.dtype.kind not in "fiu":
        raise ContractError(f"probs must be numbers, got dtype {probs.dtype}")
    probs = probs.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if len(bad):
        raise ContractError(f"probs hold nan or inf in {len(bad)} rows, first row {bad[0]}: {probs[bad[0]].tolist()}")
    sums = probs.sum(axis=1)
    bad = np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) | (probs < -SUM_TOLERANCE).any(axis=1))
    if len(bad):
        raise ContractError(
            f"rows of probs must be >= 0 and sum to 1, row {bad[0]} is {probs[bad[0]].tolist()} with sum "
            f"{sums[bad[0]]:.6g}; pass probabilities, not logits"
        )
    off = np.abs(sums - 1) > RENORMALISE
    probs[off] /= sums[off, None]
    return y_true.astype(np.int64), probs
