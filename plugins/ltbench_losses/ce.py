"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ltbench.interfaces import Loss
from ltbench.options import number
from ltbench_losses.base import checked


class CrossEntropy(Loss):
    """-log softmax(z)[y], mean over the batch; label smoothing default 0."""

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = number("loss.label_smoothing", label_smoothing, high=1, example=0.1)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(checked(logits, targets), targets, label_smoothing=self.label_smoothing)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        z = checked(logits, targets)
        return F.cross_entropy(z, targets, label_smoothing=self.label_smoothing, reduction="none")
