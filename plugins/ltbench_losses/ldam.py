"""Label-distribution-aware margins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ltbench.options import number
from ltbench_losses.base import MeanLoss, checked
from ltbench_losses.counts import CountLoss


class LDAM(CountLoss, MeanLoss):
    """Cross-entropy of s (cos - m_y at the true class), m ~ n^(-1/4) (Cao et al. 2019); a cosine head.

    scale: s, also of the logits for prediction. max_margin: m of the rarest class, in units of the cosine.
    min_count: as in CountLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"scale": ("log", 10.0, 60.0), "max_margin": ("linear", 0.1, 0.9)}
    head = "cosine"

    def __init__(self, *, scale: float = 30.0, max_margin: float = 0.5, min_count: int = 0) -> None:
        super().__init__(min_count=min_count)
        self.scale = number("loss.scale", scale, ends="()", example=30)
        self.max_margin = number("loss.max_margin", max_margin, example=0.5)

    def per_class(self, counts: np.ndarray) -> np.ndarray:
        margins: np.ndarray = counts**-0.25
        return margins * (self.max_margin / margins.max())

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        cosines = checked(logits, targets)
        margins = F.one_hot(targets, cosines.shape[1]) * self.vector.like(cosines)
        return F.cross_entropy(self.scale * (cosines - margins), targets, reduction="none")

    def adjust(self, logits: Tensor) -> Tensor:
        return self.scale * logits
