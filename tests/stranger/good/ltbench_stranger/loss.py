"""Cross-entropy weighted by n^-power."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench.interfaces import Loss


class InverseRoot(Loss):
    """-w_y log p_y with w proportional to n^-power, mean 1."""

    uses_class_counts = True

    def __init__(self, *, power: float = 0.5) -> None:
        self.power = power

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        weights = np.maximum(class_counts, 1.0) ** -self.power
        self.weights = torch.tensor(weights / weights.mean())

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, weight=self.weights.to(logits), reduction="none")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.per_sample(logits, targets).mean()
