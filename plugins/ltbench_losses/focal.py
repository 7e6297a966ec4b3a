"""Focal loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.options import choice, number
from ltbench_losses.base import ClassVector, MeanLoss, checked


class Focal(MeanLoss):
    """alpha_y (1 - p)^gamma (-log p), mean over the batch (Lin et al. 2017, Eq. 5); sigmoid form as an option.

    alpha, a number or one a class, multiplies outside the modulator; None = 1. The sigmoid form sums over classes.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"gamma": ("log", 0.5, 5.0)}

    def __init__(
        self, *, gamma: float = 2.0, alpha: float | Sequence[float] | None = None, activation: str = "softmax"
    ) -> None:
        self.gamma = number("loss.gamma", gamma, example=2)
        self.activation = choice("loss.activation", activation, ("softmax", "sigmoid"))
        self.alpha: float | ClassVector = 1.0
        if isinstance(alpha, Sequence) and not isinstance(alpha, str):
            self.alpha = ClassVector([number("loss.alpha", a, example=1) for a in alpha], "loss focal: alpha")
        elif alpha is not None:
            self.alpha = number("loss.alpha", alpha, example=1)

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        if isinstance(self.alpha, ClassVector) and len(self.alpha.values) != len(class_counts):
            raise UserError(
                f"loss focal: alpha has {len(self.alpha.values)} values for {len(class_counts)} classes; "
                "give one number a class, or one for all: --set loss.alpha=1"
            )

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        z = checked(logits, targets)
        if self.activation == "softmax":
            log_p = F.log_softmax(z, 1).gather(1, targets.view(-1, 1)).squeeze(1)
            value = (-torch.expm1(log_p)).clamp(min=1e-12) ** self.gamma * -log_p
        else:
            truth = F.one_hot(targets, z.shape[1]).bool()
            signed = torch.where(truth, z, -z)
            value = (torch.sigmoid(-signed).clamp(min=1e-12) ** self.gamma * -F.logsigmoid(signed)).sum(1)
        return value * (self.alpha.like(z)[targets] if isinstance(self.alpha, ClassVector) else self.alpha)
