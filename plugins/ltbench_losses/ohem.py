"""Online hard example mining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Loss
from ltbench.options import choice, number
from ltbench_losses.base import checked


class OHEM(Loss):
    """Mean cross-entropy of the k hardest samples of the batch, k = floor(keep_ratio N) (Shrivastava et al. 2016).

    keep_ratio: in (0, 1]. min_keep: k is at least this many samples. score: hardness by "ce" or "1-p".
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"keep_ratio": ("linear", 0.25, 1.0)}

    def __init__(self, *, keep_ratio: float = 0.7, min_keep: int = 1, score: str = "ce") -> None:
        self.keep_ratio = number("loss.keep_ratio", keep_ratio, high=1, ends="(]", example=0.7)
        if isinstance(min_keep, bool) or not isinstance(min_keep, int) or min_keep < 1:
            raise UserError(f"loss ohem: min_keep must be a whole number >= 1, got {min_keep!r}")
        self.min_keep, self.score = min_keep, choice("loss.score", score, ("ce", "1-p"))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        values = F.cross_entropy(checked(logits, targets), targets, reduction="none")
        hardness = values.detach() if self.score == "ce" else -torch.expm1(-values.detach())
        k = min(len(values), max(self.min_keep, int(self.keep_ratio * len(values) + 1e-9)))
        return values[hardness.topk(k).indices].mean()
