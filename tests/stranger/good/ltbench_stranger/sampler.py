"""Fill classes up to a share of the largest one."""

from __future__ import annotations

import numpy as np

from ltbench.interfaces import EpochPlan, EpochView, Feedback, Sampler, in_batches


class Halves(Sampler):
    """One pool that lifts every class to `share` of the largest class; then every image once an epoch."""

    uses_class_counts = True

    def __init__(self, *, share: float = 0.5) -> None:
        self.share = share

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        goal = int(self.share * class_counts.max())
        self.wanted = np.where(class_counts > 0, np.maximum(goal - class_counts, 0), 0)

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        return None if np.sum(feedback["pool_counts"]) else self.wanted

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        return [in_batches(rng.permutation(len(view.labels)), view.batch_size)]
