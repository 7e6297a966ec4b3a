"""What a loss is: it sees logits and targets, nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ltbench.errors import ContractError

if TYPE_CHECKING:
    from torch import Tensor


class Loss(ABC):
    """A training objective on one batch; constructor options (keyword-only) appear as `--set loss.OPTION=VALUE`.

    `head` is the kind of last layer it needs: "linear" gives z = Wx + b, "cosine" gives cosines in [-1, 1].
    `SEARCH` maps options to search spaces for `ltbench tune`, plain data as in `ltbench.search`.
    """

    version: ClassVar[int] = 1
    SEARCH: ClassVar[Mapping[str, Any]] = {}
    head: Literal["linear", "cosine"] = "linear"
    uses_class_counts: bool = False

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        """Learn the counts (C,) of REAL training images per class and the planned number of epochs."""

    def on_epoch_start(self, epoch: int) -> None:
        """Called before each epoch (0-based)."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar objective of logits (B, C) and targets int64 (B,)."""

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Objective of each sample (B,), where it exists; wrappers such as drw need it."""
        raise ContractError(f"loss {type(self).__name__} has no per-sample form; wrap another loss")

    def adjust(self, logits: Tensor) -> Tensor:
        """Logits for prediction: probabilities are softmax(adjust(logits)); default the identity."""
        return logits

    def state_dict(self) -> dict[str, Any]:
        """Everything that must survive a restart."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
