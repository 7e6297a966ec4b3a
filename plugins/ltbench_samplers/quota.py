"""How many synthetic images: the total, its integer share per class, and the sampler of the real rows beneath."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ltbench.errors import UserError
from ltbench.interfaces import Sampler, WrappingSampler


def largest_remainder(weights: np.ndarray, total: int) -> np.ndarray:
    """Integer shares int64 (C,) of `total` in proportion to weights (C,), summing to it exactly.

    Missing units go to the largest fractional parts, ties (to 1e-9) to the lower class index.
    """
    shares = np.asarray(weights, dtype=np.float64)
    exact = np.round(shares / shares.sum() * total, 9)
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-np.round(exact - counts, 9), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def truncated(weights: np.ndarray, total: int) -> np.ndarray:
    """Integer shares int64 (C,) of `total`, rounded down: up to C - 1 fewer than `total`."""
    shares = np.asarray(weights, dtype=np.float64)
    return np.floor(np.round(shares / shares.sum() * total, 9)).astype(np.int64)


ROUNDING = {"largest-remainder": largest_remainder, "truncate": truncated}


def _check_total(total: Any) -> None:
    if total is not None and (isinstance(total, bool) or not isinstance(total, (int, np.integer)) or total < 0):
        raise UserError(
            f"sampler.total must be a whole number of images >= 0, got {total!r}; for example --set sampler.total=200"
        )


def _check_ratio(ratio: Any) -> None:
    number = isinstance(ratio, (int, float)) and not isinstance(ratio, bool) and math.isfinite(ratio)
    if ratio is not None and not (number and ratio >= 0):
        raise UserError(
            f"sampler.ratio must be a finite share of the real images >= 0, got {ratio!r}; "
            "for example --set sampler.ratio=0.2"
        )


class QuotaSampler(WrappingSampler):
    """Synthetic images by quota, the drawn rows by another sampler.

    total: images over all classes; where it is None, `ratio` times the number of real training images.
    base: the sampler that plans the epochs. rounding: "largest-remainder" or "truncate" (may fall short of total).
    Raises UserError for a negative, fractional or missing quota.
    """

    def __init__(
        self,
        *,
        total: int | None = None,
        ratio: float | None = None,
        base: str | Mapping[str, Any] | Sampler = "instance",
        rounding: str = "largest-remainder",
    ) -> None:
        _check_total(total)
        _check_ratio(ratio)
        if total is None and ratio is None:
            raise UserError("the number of synthetic images is not set: --set sampler.total=N or sampler.ratio=0.2")
        if rounding not in ROUNDING:
            raise UserError(f"sampler.rounding must be one of {', '.join(ROUNDING)}, got {rounding!r}")
        super().__init__(base=base)
        self.total, self.ratio, self.rounding = total, ratio, rounding

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        super().setup(class_counts=class_counts, total_epochs=total_epochs)
        self.quota = int(self.total) if self.total is not None else self._from_ratio()

    def _from_ratio(self) -> int:
        assert self.ratio is not None
        return math.floor(self.ratio * int(self.class_counts.sum()) + 0.5)

    def split(self, weights: np.ndarray) -> np.ndarray:
        """The quota shared out in proportion to weights (C,), int64 (C,)."""
        return ROUNDING[self.rounding](weights, self.quota)
