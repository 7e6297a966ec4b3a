"""Progressively balanced sampling."""

from __future__ import annotations

import numpy as np

from ltbench.errors import UserError
from ltbench.interfaces import ClassSampler
from ltbench_samplers.power import power_probs


class Progressive(ClassSampler):
    """P_t = (1 - a) P_instance + a P_balanced; Kang et al. 2020, equation 2.

    end: "inclusive" (the authors' code) a = t / (T - 1), the last epoch is balanced; "exclusive" (paper) a = t / T.
    """

    def __init__(self, *, end: str = "inclusive") -> None:
        if end not in ("inclusive", "exclusive"):
            raise UserError(f"sampler.end must be inclusive or exclusive, got {end!r}")
        self.end = end

    def class_probs(self, epoch: int) -> np.ndarray:
        span = self.total_epochs - 1 if self.end == "inclusive" else self.total_epochs
        a = min(epoch / span, 1.0) if span > 0 else 0.0
        return (1 - a) * power_probs(self.class_counts, 1.0) + a * power_probs(self.class_counts, 0.0)
