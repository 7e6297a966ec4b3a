"""Repeat-factor sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import UserError
from ltbench.interfaces import ClassSampler


class RepeatFactor(ClassSampler):
    """P ~ r n with r = max(1, (threshold / f)^power), f a class's share of the images (Mahajan et al. 2018).

    Classes of a share above `threshold`, in (0, 1], keep their proportions. M draws an epoch.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"threshold": ("log", 0.01, 1.0)}

    def __init__(self, *, threshold: float = 0.1, power: float = 0.5) -> None:
        for name, value, high in [("threshold", threshold, 1.0), ("power", power, math.inf)]:
            real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not (real and 0 < value <= high):
                raise UserError(
                    f"sampler.{name} must be a finite number in (0, {high:g}], got {value!r}; "
                    f"for example --set sampler.{name}={0.1 if name == 'threshold' else 0.5}"
                )
        self.threshold, self.power = float(threshold), float(power)

    def class_probs(self, epoch: int) -> np.ndarray:
        counts = np.asarray(self.class_counts, dtype=np.float64)
        shares = np.maximum(counts, 1) / counts.sum()
        weights = counts * np.maximum(1.0, (self.threshold / shares) ** self.power)
        return weights / weights.sum()
