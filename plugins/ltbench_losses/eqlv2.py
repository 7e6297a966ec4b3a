"""Equalization loss v2: weights by the gradients that each class has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench.errors import ContractError
from ltbench.interfaces import Loss
from ltbench.options import number
from ltbench_losses.base import checked


class EQLv2(Loss):
    """Binary cross-entropies with p at the true class, q elsewhere, summed over classes, mean over N (Tan et al. 2021).

    q = 1 / (1 + exp(-gamma (r - mu))), p = 1 + alpha (1 - q); r is a class's positive over its negative gradient,
    accumulated with these weights over the whole training, 100 before. It has no per-sample form: each batch moves r.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {
        "gamma": ("log", 3.0, 48.0),
        "mu": ("linear", 0.4, 1.0),
        "alpha": ("log", 1.0, 16.0),
    }

    def __init__(self, *, gamma: float = 12.0, mu: float = 0.8, alpha: float = 4.0) -> None:
        self.gamma = number("loss.gamma", gamma, ends="()", example=12)
        self.mu = number("loss.mu", mu, example=0.8)
        self.alpha = number("loss.alpha", alpha, example=4)
        self.state: Tensor  # (3, C): positive gradients, negative gradients, r

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        start = torch.tensor([0.0, 0.0, 100.0], dtype=torch.float64)
        self.state = start[:, None].repeat(1, len(class_counts))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        z = checked(logits, targets)
        if self.state.shape[1] != z.shape[1]:
            raise ContractError(f"EQLv2: {self.state.shape[1]} classes for logits of {z.shape[1]} classes")
        positive, negative, ratio = self.state.to(z.device, z.dtype)
        truth = F.one_hot(targets, z.shape[1]).to(z.dtype)
        q = torch.sigmoid(self.gamma * (ratio - self.mu))
        weights = torch.where(truth > 0, 1 + self.alpha * (1 - q), q)
        gradient = (torch.sigmoid(z.detach()) - truth).abs() * weights
        positive = positive + (gradient * truth).sum(0)
        negative = negative + (gradient * (1 - truth)).sum(0)
        self.state = torch.stack([positive, negative, positive / (negative + 1e-10)])
        return (F.binary_cross_entropy_with_logits(z, truth, reduction="none") * weights).sum() / len(z)

    def state_dict(self) -> dict[str, Any]:
        return {"gradients": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = torch.as_tensor(state["gradients"])
