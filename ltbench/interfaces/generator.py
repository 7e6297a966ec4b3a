"""What a generator is: fitted once on the training part, then asked for so many images of each class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ltbench.interfaces.context import Context
    from ltbench.interfaces.dataset import ImageTable


class Guide(Protocol):
    """The current classifier as a differentiable judge: eval mode, weights frozen, everything restored after use."""

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(label | x), (n,), differentiable in x (n, c, h, w), x in the generator's value range."""
        ...


class Generator(ABC):
    """A source of synthetic images; constructor options (keyword-only) appear as `--set generator.OPTION=VALUE`.

    TIERS gives option defaults for the tiers tiny, base and paper; a protocol names the tier.
    fit_options: the options on which the fit depends; None = all of them. Cells that agree in these share a fit.
    later_options: options that joined a version after cells were measured with it. At their default, which must change
    nothing, they stand neither in a recipe nor in the key of a fit, so those cells and fits keep their hashes.
    SEARCH: option -> search space for `ltbench tune`, plain data as in `ltbench.search`; a value of a fit option is
    a fit of its own.
    """

    version: ClassVar[int] = 1
    SEARCH: ClassVar[Mapping[str, Any]] = {}
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}, "base": {}, "paper": {}}
    fit_options: ClassVar[frozenset[str] | None] = None
    later_options: ClassVar[frozenset[str]] = frozenset()
    guided: bool = False  # a guide steers sample(); sample(guide=None) then draws the unguided control
    conditional: bool = False  # the network itself knows the class
    pretrained: bool = False  # fit needs weights from files; without them it raises a DataError that names them
    exact: bool = True  # False: sample() may give fewer images than asked, and `notes` says how many are missing
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @abstractmethod
    def fit(self, table: ImageTable, context: Context) -> None:
        """Learn from the real training images; every long loop runs through `context.steps`."""

    @abstractmethod
    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (n, H, W, c) and labels int64 (n,) with exactly counts[k] images of class k, in any order.

        At most counts[k] where the generator is not `exact`.
        """

    def notes(self) -> dict[str, float]:
        """Numbers about the last `sample` call for the record (dropped images, zeroed gradients, saturation)."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything that must survive a restart."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
