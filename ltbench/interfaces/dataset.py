"""What a data set is: a table of images, its split and the facts about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import ContractError, FetchNotAllowed


@dataclass(frozen=True)
class ImageTable:
    """Images and what is known of each; row i of every field belongs to image i.

    images: uint8 (N, H, W, 1 or 3), read-only, may be a memory map. labels: int64 (N,), -1 = unlabelled.
    ids: str (N,), unique. groups: str (N,); equal strings never cross a split; default the ids.
    aux: further columns, each (N,). content: a hash of the source files and the size, "" if unknown.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    aux: Mapping[str, np.ndarray] = field(default_factory=dict)
    content: str = ""

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise ContractError(
                f"images must be uint8 (N, H, W, 1 or 3), got {self.images.dtype} {self.images.shape}; "
                "convert them in Dataset.load"
            )
        if self.labels.dtype != np.int64:
            raise ContractError(f"labels must be int64, got {self.labels.dtype}; convert them in Dataset.load")
        columns = {"labels": self.labels, "ids": self.ids, "groups": self.groups, **self.aux}
        for name, column in columns.items():
            if column.shape != (n,):
                raise ContractError(f"column {name!r} has shape {column.shape}, expected ({n},)")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> ImageTable:
        """The table of these rows (n,), in this order; images are copied."""
        return ImageTable(
            images=self.images[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            groups=self.groups[rows],
            aux={name: column[rows] for name, column in self.aux.items()},
            content=self.content,
        )


@dataclass(frozen=True)
class ImagePool:
    """Images without labels from several places, read when asked for: parts uint8 (n_i, H, W, c), often memory maps.

    content: a hash of the images. sources: where each part comes from.
    """

    parts: tuple[np.ndarray, ...]
    content: str
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of every image."""
        height, width, channels = self.parts[0].shape[1:]
        return height, width, channels

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Images uint8 (n, H, W, c) of these rows, in this order."""
        images = np.empty((len(rows), *self.shape), dtype=np.uint8)
        first = 0
        for part in self.parts:
            here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
            images[here] = part[rows[here] - first]
            first += len(part)
        return images


@dataclass(frozen=True)
class Splits:
    """Rows int64 of the three parts, disjoint in rows; `validation_is_test` states a leak as data."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    scheme: str = "stratified"
    seed: int = 0
    validation_is_test: bool = False
    notes: tuple[str, ...] = ()


class Dataset(ABC):
    """A data set; constructor options (keyword-only) appear as `--set dataset.OPTION=VALUE`."""

    version: ClassVar[int] = 1
    classes: tuple[str, ...] = ()
    native_size: int | None = None  # pixels of the longer side as published; None = varies
    channels: int = 3
    task: ClassVar[str] = "multiclass"
    licence: ClassVar[str] = "unknown"
    homepage: ClassVar[str] = ""
    how_to_get: ClassVar[str] = ""
    official_counts: Mapping[str, tuple[int, ...]] | None = None  # "all" or part name -> images per class
    scheme: str = "stratified"  # the split used when the protocol does not name another
    tail_option: ClassVar[str] = ""  # the option by which it cuts its own tail; a smaller dataset.imbalance lowers it
    shot_groups: Any = None  # many, medium, few as in `ltbench.metrics.class_groups`; None = over 100, under 20 images
    later_options: ClassVar[frozenset[str]] = frozenset()  # as those of a generator
    augment: Mapping[str, Any] = {}  # overrides of the protocol's augmentation that labels demand (digits: no flip)

    @abstractmethod
    def load(self, root: Path, size: int) -> ImageTable:
        """The table at size x size px from below `root`; raises DataError saying where it looked and how to get it."""

    def split(self, table: ImageTable, scheme: str = "stratified", seed: int = 0) -> Splits:
        """Train, validation and test rows; default 70/10/20, stratified by class, groups kept together."""
        from ltbench.data.splits import make_splits

        return make_splits(table, scheme, seed)

    def unlabeled(self, root: Path, size: int) -> ImageTable | None:
        """Images without labels for pre-training, or None."""
        return None

    def fetch(self, root: Path) -> None:
        """Download into `root`; default: raise FetchNotAllowed with the steps a person has to take."""
        raise FetchNotAllowed(self.how_to_get or "this data set has no download; see its homepage: " + self.homepage)
