"""What the engine lends to components; the arrows never point the other way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

import numpy as np

from ltbench.errors import TestIsSealed

if TYPE_CHECKING:
    import torch

    from ltbench.interfaces.dataset import ImagePool, ImageTable
    from ltbench.interfaces.generator import Generator


@dataclass(frozen=True)
class Task:
    """num_classes C; class_names (C,); class_counts int64 (C,) of REAL training rows; image_shape (h, w, c)."""

    num_classes: int
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    image_shape: tuple[int, int, int]


class Stateful(Protocol):
    """Anything that can be checkpointed."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ReferenceModel(Protocol):
    """A classifier trained once on the real training part, apart from the one under test."""

    name: str
    weights: str  # what identifies its fit: a phase that learns from it puts this in its key

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, C) of uint8 images (n, H, W, c) of any size."""
        ...

    def features(self, images: np.ndarray) -> np.ndarray:
        """Penultimate activations float32 (n, d) of uint8 images (n, H, W, c) of any size."""
        ...

    def log_prob(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """log p(label | x), (n,), differentiable in x (n, c, h, w) with values in [-1, 1]."""
        ...


class Context(ABC):
    """The services of one cell (or of one fit, whose seed is the protocol's split_seed)."""

    task: Task
    train: ImageTable
    val: ImageTable
    held_out: ImageTable  # the validation images uncropped, as those of train: what synthetic ones are held against
    recipe: Mapping[str, Any]  # the resolved recipe: protocol, dataset, classifier, loss, sampler, generator
    device: torch.device
    workdir: Path
    seed: int

    @property
    def test(self) -> NoReturn:
        """Sealed: the engine evaluates the test part once, at the end."""
        raise TestIsSealed("the test part is sealed; select and tune on context.val")

    @abstractmethod
    def pool(self, sources: Sequence[str]) -> ImagePool:
        """Images to learn from without labels, of the table's size and channels, read from memory maps.

        A source is "in-domain" (the whole training part, before it was cut), "own" (what the data set offers without
        labels), the id of a data set, or "folder:PATH". DataError for a source without images, and where one holds an
        image of the validation or test part.
        """

    @abstractmethod
    def fit_generator(self, spec: str | Mapping[str, Any]) -> Generator:
        """Build a generator (id, or {name, options}) and fit it on the training part.

        For generators that wrap another: its phases are cached as its own, so cells that use it alone share them.
        """

    @abstractmethod
    def component(self, slot: str) -> Any:
        """Build what the recipe puts into a slot, for example the "loss" of a classifier."""

    @abstractmethod
    def rng(self, *tags: str | int) -> np.random.Generator:
        """A numpy generator keyed by (seed, stage, epoch, *tags); nobody else advances it."""

    @abstractmethod
    def torch_rng(self, *tags: str | int) -> torch.Generator:
        """The same as a torch generator on the CPU."""

    @abstractmethod
    def autocast(self) -> Any:
        """A context manager with the precision of the device policy."""

    @abstractmethod
    def steps(
        self,
        name: str,
        total: int,
        owner: Stateful,
        options: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Iterator[int]:
        """A resumable, cached training loop: yields the steps still to do, 0-based, and checkpoints `owner`.

        The cache key is the component, its version, `name`, `options` (default: all its options), the training
        images (or `data`, a hash of what the phase learns from instead) and the seed, so variants that agree in these
        share the phase. A finished phase is loaded and yields
        nothing; a process that needs a phase another one is working on waits, and takes over if that one dies.
        The global torch seed is set anew at every step, so a resumed loop equals an uninterrupted one.
        """

    @abstractmethod
    def reference(self, role: Literal["guide", "features", "judge"]) -> ReferenceModel:
        """A reference model trained on the real training part, cached and charged to the cell's cost."""

    @abstractmethod
    def log(self, **scalars: float) -> None:
        """Add scalars to the history line of the current epoch."""
