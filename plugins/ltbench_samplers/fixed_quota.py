"""A pool of synthetic images that is filled once."""

from __future__ import annotations

import numpy as np

from ltbench.interfaces import Feedback
from ltbench_samplers.quota import QuotaSampler


class FixedQuota(QuotaSampler):
    """Fill an empty pool with equal counts per class and keep it: offline synthesis.

    Options as in QuotaSampler; a class without real training images gets none.
    """

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        if np.sum(feedback["pool_counts"]) > 0:
            return None
        return self.split((self.class_counts > 0).astype(np.float64))
