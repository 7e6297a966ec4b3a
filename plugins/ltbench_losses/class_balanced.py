"""Class-balanced losses: weights by the effective number of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ltbench.interfaces import Loss
from ltbench.options import choice, number
from ltbench_losses.ce import CrossEntropy
from ltbench_losses.counts import WeightedLoss
from ltbench_losses.focal import Focal


def effective_number(counts: np.ndarray, beta: float) -> np.ndarray:
    """E = (1 - beta^n) / (1 - beta), images, float64 (C,); beta in [0, 1). Cui et al. 2019."""
    log_beta = math.log(beta) if beta > 0 else -math.inf
    return -np.expm1(np.asarray(counts, np.float64) * log_beta) / (1 - beta)


def balanced_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Weights ~ 1 / E that sum to C, float64 (C,); beta = 0 gives ones."""
    weights = 1 / effective_number(counts, beta)
    return weights / weights.mean()


class _ClassBalanced(WeightedLoss):
    """Weights ~ 1 / E over a given loss."""

    def __init__(self, base: Loss, *, id: str, beta: float, normalize: str, min_count: int) -> None:
        super().__init__(base, normalize=normalize, min_count=min_count)
        self.beta = number("loss.beta", beta, high=1, example=0.9999)

    def per_class(self, counts: np.ndarray) -> np.ndarray:
        return balanced_weights(counts, self.beta)


class ClassBalancedCE(_ClassBalanced):
    """Cross-entropy with weights ~ (1 - beta) / (1 - beta^n) of mean 1 (Cui et al. 2019).

    beta: 0 gives cross-entropy, towards 1 the inverse frequency. normalize, min_count: as in WeightedLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"beta": ("choice", [0.9, 0.99, 0.999, 0.9999])}

    def __init__(self, *, beta: float = 0.9999, normalize: str = "n", min_count: int = 0) -> None:
        super().__init__(CrossEntropy(), id="cb-ce", beta=beta, normalize=normalize, min_count=min_count)


class ClassBalancedFocal(_ClassBalanced):
    """Focal loss with weights ~ (1 - beta) / (1 - beta^n) of mean 1 (Cui et al. 2019), sigmoid as published.

    A sample's weight, that of its true class, multiplies all C sigmoid terms; the sum is divided by N.
    probs: prediction by "softmax" or "sigmoid", sigma(z) / sum sigma(z). normalize, min_count: as in WeightedLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {
        "beta": ("choice", [0.9, 0.99, 0.999, 0.9999]),
        "gamma": ("choice", [0.5, 1.0, 2.0]),
    }

    def __init__(
        self,
        *,
        beta: float = 0.9999,
        gamma: float = 2.0,
        activation: str = "sigmoid",
        probs: str = "softmax",
        normalize: str = "n",
        min_count: int = 0,
    ) -> None:
        base = Focal(gamma=gamma, activation=activation)
        super().__init__(base, id="cb-focal", beta=beta, normalize=normalize, min_count=min_count)
        self.probs = choice("loss.probs", probs, ("softmax", "sigmoid"))

    def adjust(self, logits: Tensor) -> Tensor:
        return F.logsigmoid(logits) if self.probs == "sigmoid" else logits
