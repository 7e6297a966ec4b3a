"""What a metric is: numbers from stored predictions or from synthetic images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np


@dataclass(frozen=True)
class PredictionRecord:
    """y_true int64 (n,), probs float (n, C), train_counts int (C,) of real training images.

    shot_groups: how the data set groups its classes into many, medium and few; None as usual.
    """

    y_true: np.ndarray
    probs: np.ndarray
    train_counts: np.ndarray
    class_names: tuple[str, ...] = ()
    shot_groups: Any = None


@dataclass(frozen=True)
class GenerationRecord:
    """The pool in use at the selected epoch, beside the real training images; all images uint8 (n, H, W, c).

    features: extractor name -> function from images to features (n, d). judge: function from images to
    probabilities (n, C) of an independent classifier. seed keys every random draw. held_out: real images that no
    generator has seen, with held_out_labels (m,). A label of -1 is unknown. A function with an attribute `weights`
    (sha256) proves its name.
    """

    images: np.ndarray
    labels: np.ndarray
    real_images: np.ndarray
    real_labels: np.ndarray
    num_classes: int
    features: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    judge: Callable[[np.ndarray], np.ndarray] | None = None
    seed: int = 0
    held_out: np.ndarray | None = None
    held_out_labels: np.ndarray | None = None


class Metric(ABC):
    """Numbers about one finished cell; runs after every cell, `on` says which record it reads.

    higher_is_better: result key, without features in brackets, -> direction; tables sort and rank by it, also the
    variants KEY_floor, KEY_matched and KEY_macro. A result key "warnings" (list of str) joins the record's warnings.
    """

    version: ClassVar[int] = 1
    on: ClassVar[Literal["predictions", "images"]] = "predictions"
    higher_is_better: ClassVar[Mapping[str, bool]] = {}

    @abstractmethod
    def compute(self, record: Any) -> dict[str, Any]:
        """Result key -> float, list or nested list; nan where undefined."""
