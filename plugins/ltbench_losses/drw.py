"""Deferred re-weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from ltbench_samplers.deferred import switch_epoch

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import Loss
from ltbench.options import number
from ltbench_losses.base import ClassVector
from ltbench_losses.class_balanced import balanced_weights
from ltbench_losses.counts import WeightedLoss


class DRW(WeightedLoss):
    """Another loss, from epoch floor(switch T) on with class-balanced weights (Cao et al. 2019).

    base: the other loss; it needs a per-sample form. switch: share of the epochs, in [0, 1]. beta: as in cb-ce.
    normalize, min_count: as in WeightedLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {
        "switch": ("linear", 0.5, 0.95),
        "beta": ("choice", [0.9, 0.99, 0.999, 0.9999]),
    }

    def __init__(
        self,
        *,
        base: str | Mapping[str, Any] | Loss = "ce",
        switch: float = 0.8,
        beta: float = 0.9999,
        normalize: str = "weight",
        min_count: int = 0,
    ) -> None:
        super().__init__(ltbench.build("loss", base), normalize=normalize, min_count=min_count)
        self.switch = number("loss.switch", switch, high=1, ends="[]", example=0.8)
        self.beta = number("loss.beta", beta, high=1, example=0.9999)

    def per_class(self, counts: np.ndarray) -> np.ndarray:
        return balanced_weights(counts, self.beta)

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        if type(self.base).per_sample is Loss.per_sample:
            raise UserError(
                f"loss drw: {type(self.base).__name__} has no value per sample that could be weighted; "
                "wrap another loss: --set loss.base=ce"
            )
        super().setup(class_counts=class_counts, total_epochs=total_epochs)
        self.late = self.vector
        self.early = self.vector = ClassVector(np.ones(len(class_counts)), "DRW")
        self.switch_at = switch_epoch(self.switch, total_epochs)

    def on_epoch_start(self, epoch: int) -> None:
        self.base.on_epoch_start(epoch)
        self.vector = self.early if epoch < self.switch_at else self.late

    def state_dict(self) -> dict[str, Any]:
        return {"base": self.base.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base.load_state_dict(state["base"])
