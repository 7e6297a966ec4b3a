"""Cross-entropy weighted by a power of the inverse class frequency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ltbench.options import number
from ltbench_losses.ce import CrossEntropy
from ltbench_losses.counts import WeightedLoss


class WeightedCrossEntropy(WeightedLoss):
    """w_y (-log softmax(z)[y]), w ~ n^-rho rescaled to mean 1 (generalised re-weight; Zhang et al. 2021).

    rho: 1 is the inverse frequency, 0 cross-entropy. normalize, min_count: as in WeightedLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"rho": ("linear", 0.2, 1.2)}

    def __init__(self, *, rho: float = 1.0, normalize: str = "n", min_count: int = 0) -> None:
        super().__init__(CrossEntropy(), normalize=normalize, min_count=min_count)
        self.rho = number("loss.rho", rho, example=1)

    def per_class(self, counts: np.ndarray) -> np.ndarray:
        weights: np.ndarray = (counts / counts.sum()) ** -self.rho
        return weights / weights.mean()
