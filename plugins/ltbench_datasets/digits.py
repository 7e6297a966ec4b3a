"""A long-tailed cut of scikit-learn's handwritten digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.data.decode import fit
from ltbench.data.tables import digest
from ltbench.errors import DataError
from ltbench.interfaces.dataset import Dataset, ImageTable

TEST, VAL, HEAD = 50, 18, 100  # images per class: test and validation balanced, the largest training class


class DigitsLT(Dataset):
    """Class k keeps HEAD * ratio^(-k/9) training images, so a larger ratio keeps a subset; no file, no network."""

    name = "digits-lt"
    classes = tuple("0123456789")
    native_size = 8
    channels = 1
    scheme = "column:split"
    tail_option = "ratio"
    augment: Mapping[str, Any] = {"flip": False, "vertical_flip": False, "rotation": 0, "shift": 1}
    licence = "CC BY 4.0"
    homepage = "https://archive.ics.uci.edu/dataset/80"
    how_to_get = "nothing to get: scikit-learn contains the images"

    def __init__(self, *, ratio: float = 20) -> None:
        if not 1 <= ratio <= HEAD:
            raise DataError(f"dataset.ratio must lie in 1..{HEAD}, got {ratio}")
        self.ratio = ratio

    def load(self, root: Path, size: int) -> ImageTable:
        kept = np.round(HEAD * self.ratio ** (-np.arange(10) / 9)).astype(np.int64)
        return self._table(size, kept, ("train", "val", "test"))

    def balanced_train(self, size: int) -> ImageTable:
        """Every image that is neither validation nor test (106..115 a class), for a judge trained without the tail."""
        return self._table(size, np.full(10, 10**6), ("train",))

    def fetch(self, root: Path) -> None:
        """Nothing to do."""

    def _table(self, size: int, kept: np.ndarray, parts: tuple[str, ...]) -> ImageTable:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = digits.target.astype(np.int64)
        split = np.full(len(labels), "none", dtype="<U5")
        for k in range(10):
            rows = np.random.default_rng((0, k)).permutation(np.flatnonzero(labels == k))
            split[rows[:TEST]] = "test"
            split[rows[TEST : TEST + VAL]] = "val"
            split[rows[TEST + VAL :][: kept[k]]] = "train"
        used = np.flatnonzero(np.isin(split, parts))
        images = np.stack([fit(pixels[row], size) for row in used])
        images.setflags(write=False)
        ids = np.array([f"digit{row:04d}" for row in used])
        names = np.array(self.classes)[labels[used]]
        aux = {"split": split[used], "label_name": names}
        return ImageTable(images, labels[used], ids, ids, aux, digest(images))
