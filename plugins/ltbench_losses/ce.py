"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Loss


class CrossEntropy(Loss):
    """-log softmax(z)[y], mean over the batch; label smoothing default 0."""

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UserError(f"loss ce: label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction="none")
