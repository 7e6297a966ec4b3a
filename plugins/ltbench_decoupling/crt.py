"""Classifier re-training, cRT (Kang et al. 2020, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ltbench_decoupling.stages import Trained


class ClassifierRetraining(Trained):
    """Stage two trains a head drawn anew; the release gives it 10 epochs after 90 and the first stage's rate."""

    SEARCH: ClassVar[Mapping[str, Any]] = {"share": ("log", 0.05, 0.5), "lr_scale": ("log", 0.1, 10.0)}

    def __init__(self, *, share: float = 10 / 90, lr_scale: float = 1.0, eval_batch: int = 256) -> None:
        super().__init__(share=share, lr_scale=lr_scale, eval_batch=eval_batch)

    def begin_second(self) -> None:
        self.net[1].reset_parameters()  # type: ignore[operator]
