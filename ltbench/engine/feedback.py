"""What samplers may ask for: each entry of `Sampler.needs` has one provider here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ltbench.data.augment import eval_crop
from ltbench.models.images import resize_images

if TYPE_CHECKING:
    from ltbench.engine.candidates import Outcome
    from ltbench.engine.run import Run


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


def gather(run: Run, needs: frozenset[str], outcome: Outcome) -> dict[str, np.ndarray]:
    """The needed entries after an epoch; each costs at most one pass over the training images (and the pool)."""
    train, pool, classes = run.context.train, run.synthesis.pool, run.task.num_classes
    result: dict[str, np.ndarray] = {}
    if needs & {"train_accuracy", "train_loss", "union_accuracy"}:
        probs = run.evaluator.predict(eval_crop(train.images, run.size), "train")
        if "train_accuracy" in needs:
            result["train_accuracy"] = train_accuracy(probs, train.labels, classes)
        if "train_loss" in needs:
            result["train_loss"] = train_loss(probs, train.labels, classes)
        if "union_accuracy" in needs:
            parts = [(probs, train.labels)]
            if len(pool):
                parts.append((run.evaluator.predict(resize_images(pool.images, run.size), "pool"), pool.labels))
            if outcome.probs is not None:
                parts.append((outcome.probs, run.context.val.labels))
            joined = np.concatenate([p for p, _ in parts]), np.concatenate([y for _, y in parts])
            result["union_accuracy"] = train_accuracy(*joined, classes)
    if "running_accuracy" in needs and "class_seen" in outcome.log:
        seen = np.asarray(outcome.log["class_seen"], np.float64)
        correct = np.asarray(outcome.log["class_correct"], np.float64)
        result["running_accuracy"] = np.divide(correct, seen, out=np.full(classes, np.nan), where=seen > 0)
    return result
