"""Predictions of a classifier, checked against the contract."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltbench.engine.context import CellContext
from ltbench.engine.streams import seed_global
from ltbench.errors import ContractError, NonFinite
from ltbench.metrics import classification


class Evaluator:
    """Asks one classifier for probabilities; random draws are keyed by the seed and the part alone."""

    def __init__(self, classifier: Any, context: CellContext) -> None:
        self.classifier, self.context = classifier, context

    def predict(self, images: np.ndarray, part: str) -> np.ndarray:
        """Checked probabilities float32 (N, C) of uint8 images of the protocol's size."""
        context = self.context
        before = context.stage, context.epoch
        context.at(f"predict:{part}", 0)
        seed_global(context.seed, "predict", part)
        try:
            probs = np.asarray(self.classifier.predict(images, context))
        finally:  # a diverged candidate must not change the clock of the next one
            context.at(*before)
        shape = (len(images), context.task.num_classes)
        if probs.shape != shape or probs.dtype != np.float32:
            raise ContractError(f"predict must return float32 {shape}, got {probs.dtype} {probs.shape}")
        if not np.isfinite(probs).all():
            raise NonFinite(f"predict returned non-finite probabilities on the {part} part; lower the learning rate")
        if (probs < 0).any():
            raise ContractError(f"predict must return probabilities of at least 0, got {probs.min():.6g}")
        sums = probs.sum(1)
        if not np.allclose(sums, 1, atol=1e-4):
            raise ContractError(f"predict's rows must sum to 1, got sums from {sums.min():.6g} to {sums.max():.6g}")
        return probs

    def score(self, probs: np.ndarray, labels: np.ndarray) -> float:
        """The protocol's selection metric."""
        return float(classification(labels, probs)[self.context.recipe["protocol"]["select"]])
