"""Focal loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Loss


class Focal(Loss):
    """alpha_y (1 - p)^gamma (-log p), mean over the batch (Lin et al. 2017, Eq. 5); sigmoid form as an option.

    alpha, a number or one a class, multiplies outside the modulator; None = 1.
    """

    def __init__(
        self, *, gamma: float = 2.0, alpha: float | Sequence[float] | None = None, activation: str = "softmax"
    ) -> None:
        if gamma < 0:
            raise UserError(f"loss focal: gamma must be at least 0, got {gamma}")
        if activation not in ("softmax", "sigmoid"):
            raise UserError(f"loss focal: activation must be softmax or sigmoid, got {activation!r}")
        self.gamma, self.alpha, self.activation = gamma, alpha, activation

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.activation == "softmax":
            log_p = F.log_softmax(logits, 1).gather(1, targets.view(-1, 1)).squeeze(1)
            value = (-torch.expm1(log_p)).clamp(min=1e-12) ** self.gamma * -log_p
        else:
            truth = F.one_hot(targets, logits.shape[1]).bool()
            signed = torch.where(truth, logits, -logits)
            value = (torch.sigmoid(-signed).clamp(min=1e-12) ** self.gamma * -F.logsigmoid(signed)).sum(1)
        if self.alpha is None:
            return value
        alpha = torch.as_tensor(self.alpha, dtype=logits.dtype, device=logits.device)
        return value * (alpha[targets] if alpha.ndim else alpha)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.per_sample(logits, targets).mean()
