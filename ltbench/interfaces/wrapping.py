"""A sampler that rests on another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltbench.interfaces.sampler import EpochPlan, EpochView, Feedback, Sampler


class WrappingSampler(Sampler):
    """Leaves everything to the sampler `base` but the pool: `synthetic_counts` is the wrapper's own, by default None.

    base: an id, {name, ...options} or a sampler. A subclass that keeps a state of its own joins it to `state_dict`.
    """

    def __init__(self, *, base: str | Mapping[str, Any] | Sampler) -> None:
        import ltbench

        self.base: Sampler = ltbench.build("sampler", base)
        self.needs = frozenset(self.base.needs)
        self.uses_class_counts = self.base.uses_class_counts

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        self.class_counts = np.asarray(class_counts)
        self.base.setup(class_counts=class_counts, total_epochs=total_epochs)

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        return self.base.plan(view, feedback, rng)

    def observe(self, scores: Sequence[float], best: int) -> None:
        self.base.observe(scores, best)

    def notes(self) -> dict[str, Any]:
        """Those of the base."""
        return self.base.notes()

    def state_dict(self) -> dict[str, Any]:
        return {"base": self.base.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base.load_state_dict(state["base"])
