"""Mixtures of two real images of a class."""

from __future__ import annotations

import numpy as np

from ltbench.interfaces import Context, Generator, Guide, ImageTable


class Mixes(Generator):
    """x = a x_i + (1 - a) x_j for two training images of the class, a uniform in [low, 1 - low]."""

    def __init__(self, *, low: float = 0.3) -> None:
        self.low = low

    def fit(self, table: ImageTable, context: Context) -> None:
        self.images = table.images
        self.rows = [np.flatnonzero(table.labels == k) for k in range(context.task.num_classes)]

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        pairs = np.array([rng.choice(self.rows[k], 2) for k in labels], np.int64).reshape(-1, 2)
        a = rng.uniform(self.low, 1 - self.low, (len(labels), 1, 1, 1))
        mixed = a * self.images[pairs[:, 0]] + (1 - a) * self.images[pairs[:, 1]]
        return mixed.round().astype(np.uint8), labels
