"""What a classifier is: networks, objective and optimiser behind train_epoch and predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ltbench.errors import CannotGuide

if TYPE_CHECKING:
    from torch import Tensor

    from ltbench.interfaces.context import Context
    from ltbench.interfaces.sampler import Sampler


@dataclass(frozen=True)
class Stage:
    """A span of epochs with one purpose.

    sampler: one that replaces the cell's in this stage (an id, a {name, ...options} or an instance).
    evaluate_every: epochs between validations. select: load the best validated epoch at the end, else keep the last.
    """

    name: str
    epochs: int
    sampler: str | Mapping[str, Any] | Sampler | None = None
    evaluate_every: int = 1
    select: bool = True


@dataclass(frozen=True)
class Batch:
    """One training batch on the device.

    images: float (B, c, h, w) in [0, 1], the first view. views: all views, one per entry of Classifier.views.
    labels: int64 (B,). synthetic: bool (B,). rows: int64 (B,), row of the real training table, -1 = synthetic.
    aux: columns of the real rows (B,) on the host (synthetic rows repeat row 0: mask them with `synthetic`).
    """

    images: Tensor
    labels: Tensor
    synthetic: Tensor
    rows: Tensor
    views: tuple[Tensor, ...]
    epoch: int
    step: int
    aux: Mapping[str, np.ndarray] = field(default_factory=dict)


class Batches(Iterable[Batch]):
    """The batches of one epoch; `len` is their number."""

    @abstractmethod
    def __len__(self) -> int: ...


class Classifier(ABC):
    """The learning side of a cell; constructor options (keyword-only) appear as `--set classifier.OPTION=VALUE`.

    slots: the component slots of the recipe it uses beside sampler and generator, which belong to the engine.
    views: names of augmentations, "protocol" (the protocol's), "strong" or "none", one tensor each in Batch.views.
    owns: protocol fields it fixes -> why; tables print them as a footnote.
    SEARCH: option -> search space for `ltbench tune`, plain data as in `ltbench.search`.
    """

    version: ClassVar[int] = 1
    SEARCH: ClassVar[Mapping[str, Any]] = {}
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}, "base": {}, "paper": {}}
    slots: ClassVar[frozenset[str]] = frozenset({"loss"})
    owns: ClassVar[Mapping[str, str]] = {}
    views: Sequence[str] = ("protocol",)

    @abstractmethod
    def setup(self, context: Context) -> None:
        """Build networks, loss and optimisers; called once, also before a resume."""

    def stages(self, epochs: int) -> list[Stage]:
        """The stages of a training of `epochs` epochs; default one."""
        return [Stage("train", epochs)]

    def start_stage(self, stage: Stage, context: Context) -> None:
        """Called before the first epoch of a stage (also when a stage is resumed, before its state is loaded)."""

    def end_stage(self, stage: Stage, context: Context) -> None:
        """Called after the best epoch of the stage was loaded."""

    @abstractmethod
    def train_epoch(self, batches: Batches, context: Context) -> dict[str, Any]:
        """Train on every batch once; returns scalars for the history ("loss", ...).

        May add "class_correct" and "class_seen", int (C,), which feed the samplers that need "running_accuracy".
        """

    @abstractmethod
    def predict(self, images: np.ndarray, context: Context) -> np.ndarray:
        """Probabilities float32 (N, C), rows summing to 1, for uint8 images (N, H, W, c) of a whole split."""

    def logits(self, x: Tensor) -> Tensor:
        """Differentiable logits (n, C) for x (n, c, h, w) in [0, 1], such that softmax gives `predict`'s output."""
        raise CannotGuide(
            f"classifier {type(self).__name__} offers no differentiable logits and cannot guide a generator; "
            "use a generator that needs no guide, or another classifier"
        )

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that must survive a restart: weights, BatchNorm, optimiser, EMA, loss state."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
