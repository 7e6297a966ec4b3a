"""Equalization loss: head samples do not push the logits of tail classes down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench.options import choice, number
from ltbench_losses.base import ClassVector, MeanLoss, checked
from ltbench_losses.counts import checked_counts

log = logging.getLogger("ltbench")
TAIL_SHARE = 0.05


def tail_classes(counts: Any, threshold: float | None = None) -> np.ndarray:
    """Whether a class's share of the images is below `threshold`, bool (C,).

    None: the smallest classes that together hold at most 5 % of the images, equal classes all or none.
    """
    shares = checked_counts(counts) / np.sum(counts)
    if threshold is None:
        ascending = np.sort(shares)
        threshold = ascending[np.argmax(np.cumsum(ascending) > TAIL_SHARE + 1e-12)]
    return np.asarray(shares < threshold)


class EQL(MeanLoss):
    """Cross-entropy without the terms that suppress tail classes (Tan et al. 2020).

    activation: "softmax" drops exp(z) of a tail class other than the true one with probability gamma; "sigmoid" drops
    the negative binary terms of tail classes, the rest is summed over classes.
    threshold: lambda of the paper, classes of a smaller share of the images are tail; None: see tail_classes.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"gamma": ("linear", 0.75, 1.0)}
    uses_class_counts = True
    tail: ClassVector

    def __init__(self, *, activation: str = "softmax", threshold: float | None = None, gamma: float = 0.95) -> None:
        self.activation = choice("loss.activation", activation, ("softmax", "sigmoid"))
        self.gamma = number("loss.gamma", gamma, high=1, ends="[]", example=0.95)
        self.threshold = threshold
        if threshold is not None:
            self.threshold = number("loss.threshold", threshold, high=1, ends="[]", example=0.01)

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        tail = tail_classes(class_counts, self.threshold)
        if tail.any():
            log.info("loss eql: tail classes %s", np.flatnonzero(tail).tolist())
        else:
            log.warning("loss eql: no class is tail, so nothing is equalized; raise loss.threshold")
        self.tail = ClassVector(tail, "EQL")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        z = checked(logits, targets)
        truth = F.one_hot(targets, z.shape[1]).bool()
        spared = (self.tail.like(z) > 0) & ~truth
        if self.activation == "softmax":
            spared = spared & (torch.rand_like(z) < self.gamma)
            return F.cross_entropy(z.masked_fill(spared, -torch.inf), targets, reduction="none")
        terms = F.binary_cross_entropy_with_logits(z, truth.to(z.dtype), reduction="none")
        return terms.masked_fill(spared, 0).sum(1)
