"""What several systems share: heads on one backbone, projectors, queues, priors, contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import DataError
from ltbench.interfaces import Context, Loss
from ltbench.models.standard import StandardClassifier


def log_counts(class_counts: np.ndarray) -> Tensor:
    """log n, float64 (C,), of real training images; DataError naming the first class that has none."""
    counts = torch.as_tensor(np.asarray(class_counts), dtype=torch.float64)
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        raise DataError(
            f"class {empty[0]} has no training image, so the logarithm of its share is undefined; choose another split"
        )
    return counts.log()


class PriorCrossEntropy(Loss):
    """CE(z + log n, y), prediction from raw z: balanced softmax, Ren et al. 2020.

    log n and log pi give the same softmax, so this is logit adjustment with tau = 1 too (Menon et al. 2021, eq. 10).
    """

    uses_class_counts = True
    log_counts: Tensor  # float64 (C,)

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        self.log_counts = log_counts(class_counts)

    def shift(self, logits: Tensor) -> Tensor:
        """z + log n for z (..., C), in z's precision."""
        return logits + self.log_counts.to(logits)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.shift(logits), targets)


class Branched(nn.ModuleList):
    """[backbone, head, *others]: forward is head after backbone, what prediction uses; others serve training."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> logits (B, C)."""
        logits: Tensor = self[1](self[0](x))
        return logits


class BranchedClassifier(StandardClassifier):
    """The standard classifier with further heads on its features; subclasses give `branches` and a training loss."""

    net: Any  # Branched

    def build(self, context: Context) -> nn.Module:
        plain: Any = super().build(context)
        backbone, head = plain
        return Branched([backbone, head, *self.branches(head.weight.shape[1], context.task.num_classes)])

    def branches(self, width: int, classes: int) -> list[nn.Module]:
        """Modules on features of `width`, net[2:]."""
        return []


class Projector(nn.Sequential):
    """(B, d) -> unit vectors (B, A) through one hidden layer, with BatchNorm in between where `norm`."""

    def __init__(self, features: int, hidden: int, dim: int, *, norm: bool = True) -> None:
        between = [nn.BatchNorm1d(hidden)] if norm else []
        super().__init__(nn.Linear(features, hidden, bias=not norm), *between, nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """float32 whatever the precision of x."""
        return F.normalize(super().forward(x).float(), dim=1)


class Queue(nn.Module):
    """A ring of the last `size` unit vectors (A,) and their labels; any number may be pushed at once."""

    features: Tensor
    labels: Tensor  # int64 (size,), -1 = not filled yet
    cursor: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def filled(self) -> tuple[Tensor, Tensor]:
        """Vectors (Q, A) and labels (Q,) of the slots in use."""
        used = self.labels >= 0
        return self.features[used], self.labels[used]

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor) -> None:
        """Overwrite the oldest slots; of more vectors than slots, the last ones stay."""
        size = len(self.labels)
        features, labels = features[-size:], labels[-size:]
        where = (self.cursor + torch.arange(len(labels), device=labels.device)) % size
        self.features[where], self.labels[where] = features.detach().float(), labels
        self.cursor.copy_((self.cursor + len(labels)) % size)


def contrast(anchors: Tensor, others: Tensor, positive: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Supervised contrast of unit vectors (N, A) with candidates (V, A), mean over the anchors that have a positive.

    l_i = -sum_{v in P_i} w_iv log[exp(q_i.v/T) / sum_v' w_iv' exp(q_i.v'/T)] / sum_{v in P_i} w_iv for `positive` bool
    (N, V) and `weight` >= 0, broadcast to (N, V), 0 = no candidate. Khosla et al. 2020, equation 2, with weights.
    """
    similarity = anchors @ others.T / temperature
    weight = weight.to(similarity).expand_as(similarity)
    log_probs = similarity - torch.logsumexp(similarity + weight.log(), 1, keepdim=True)
    mass = weight * positive
    total = mass.sum(1)
    each = -(mass * log_probs).sum(1) / total.clamp(min=torch.finfo(total.dtype).tiny)
    return each.sum() / (total > 0).sum().clamp(min=1)
