"""Deferred re-sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import EpochPlan, EpochView, Feedback, Sampler


def switch_epoch(switch: float, total_epochs: int) -> int:
    """The first epoch (0-based) after a share `switch` of the epochs, floor(switch T)."""
    return int(switch * total_epochs + 1e-9)


class Deferred(Sampler):
    """One sampler until epoch floor(switch T), then another (DRS; Cao et al. 2019).

    base, to: the two samplers. switch: share of the epochs, in [0, 1].
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"switch": ("linear", 0.5, 0.95)}

    def __init__(
        self,
        *,
        base: str | Mapping[str, Any] | Sampler = "instance",
        to: str | Mapping[str, Any] | Sampler = "class-balanced",
        switch: float = 0.8,
    ) -> None:
        if isinstance(switch, bool) or not isinstance(switch, (int, float)) or not 0 <= switch <= 1:
            raise UserError(f"sampler.switch must be a share of the epochs in [0, 1], got {switch!r}; for example 0.8")
        self.switch, self.switch_at = switch, 0
        self.parts: tuple[Sampler, Sampler] = (ltbench.build("sampler", base), ltbench.build("sampler", to))
        self.now = self.parts[0]
        self.uses_class_counts = any(part.uses_class_counts for part in self.parts)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Feedback that either sampler asks for at present."""
        return frozenset().union(*(part.needs for part in self.parts))

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        self.switch_at = switch_epoch(self.switch, total_epochs)
        for part in self.parts:
            part.setup(class_counts=class_counts, total_epochs=total_epochs)

    def _at(self, epoch: int) -> Sampler:
        self.now = self.parts[epoch >= self.switch_at]
        return self.now

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        return self._at(feedback["epoch"]).synthetic_counts(feedback)

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        return self._at(view.epoch).plan(view, feedback, rng)

    def observe(self, scores: Sequence[float], best: int) -> None:
        self.now.observe(scores, best)

    def notes(self) -> dict[str, Any]:
        """Those of the sampler in use."""
        return self.now.notes()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
