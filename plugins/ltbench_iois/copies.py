"""Copies of real images: what synthesis must beat."""

from __future__ import annotations

import numpy as np

from ltbench.errors import DataError
from ltbench.interfaces import Context, Generator, Guide, ImageTable
from ltbench.models.drawing import asked_counts


class RealCopies(Generator):
    """Draw real training images of the class without replacement, starting over when all were drawn.

    rows: int64 (n,), the training row behind each image of the last `sample` call.
    """

    rows: np.ndarray

    def fit(self, table: ImageTable, context: Context) -> None:
        self.table, self.names = table, context.task.class_names
        self.rows = np.empty(0, dtype=np.int64)
        self.members = [np.flatnonzero(table.labels == k) for k in range(context.task.num_classes)]

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        asked = asked_counts(counts, len(self.members))
        rows = np.concatenate([self._draw(k, int(n), rng) for k, n in enumerate(asked)])
        self.rows = rng.permutation(rows).astype(np.int64)
        return self.table.images[self.rows], self.table.labels[self.rows]

    def _draw(self, k: int, n: int, rng: np.random.Generator) -> np.ndarray:
        members = self.members[k]
        if n and not len(members):
            raise DataError(f"class {self.names[k]!r} has no training image to copy; ask for none of it")
        cycles = -(-n // max(len(members), 1))
        return np.concatenate([members[:0], *(rng.permutation(members) for _ in range(cycles))])[:n]

    def notes(self) -> dict[str, float]:
        """distinct: different training images among the copies of the last call."""
        return {"distinct": float(len(np.unique(self.rows)))}
