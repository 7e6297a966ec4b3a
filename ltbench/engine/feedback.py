"""What samplers may ask for: each entry of `Sampler.needs` has one provider here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def per_class_mean(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean of values (N,) over the rows of each class, float64 (C,); nan for a class without rows."""
    sums = np.bincount(labels, weights=values.astype(np.float64), minlength=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    return np.divide(sums, counts, out=np.full(num_classes, np.nan), where=counts > 0)


def train_accuracy(probs: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Recall of each class, float64 (C,)."""
    return per_class_mean(probs.argmax(1) == labels, labels, num_classes)


def train_loss(probs: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean cross-entropy of each class in nats, float64 (C,)."""
    picked = probs[np.arange(len(labels)), labels].astype(np.float64)
    return per_class_mean(-np.log(np.maximum(picked, 1e-12)), labels, num_classes)


def gather(
    needs: frozenset[str],
    *,
    predict: Callable[[np.ndarray], np.ndarray],
    train: tuple[np.ndarray, np.ndarray],
    pool: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray | None, np.ndarray],
    log: Mapping[str, Any],
    num_classes: int,
) -> dict[str, np.ndarray]:
    """The needed entries after an epoch: (images, labels) of train and pool, (probs, labels) of validation."""
    result: dict[str, np.ndarray] = {}
    if needs & {"train_accuracy", "train_loss", "union_accuracy"}:
        probs = predict(train[0])
        if "train_accuracy" in needs:
            result["train_accuracy"] = train_accuracy(probs, train[1], num_classes)
        if "train_loss" in needs:
            result["train_loss"] = train_loss(probs, train[1], num_classes)
        if "union_accuracy" in needs:
            parts = [(probs, train[1])]
            if len(pool[1]):
                parts.append((predict(pool[0]), pool[1]))
            if val[0] is not None:
                parts.append((val[0], val[1]))
            joined = np.concatenate([p for p, _ in parts]), np.concatenate([y for _, y in parts])
            result["union_accuracy"] = train_accuracy(*joined, num_classes)
    if "running_accuracy" in needs and "class_seen" in log:
        seen = np.asarray(log["class_seen"], np.float64)
        correct = np.asarray(log["class_correct"], np.float64)
        result["running_accuracy"] = np.divide(correct, seen, out=np.full(num_classes, np.nan), where=seen > 0)
    return result
