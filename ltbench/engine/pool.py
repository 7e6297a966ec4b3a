"""The pool of synthetic images in use, with the provenance of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ltbench.errors import ContractError


@dataclass(frozen=True)
class Pool:
    """images uint8 (n, H, W, c), labels int64 (n,); provenance: generator, epoch, stream, guide, counts, notes."""

    images: np.ndarray
    labels: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def empty(cls, channels: int) -> Pool:
        """No images."""
        return cls(np.zeros((0, 1, 1, channels), np.uint8), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self, num_classes: int) -> np.ndarray:
        """Images per class, int64 (C,)."""
        return np.bincount(self.labels, minlength=num_classes)

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"images": self.images, "labels": self.labels, "provenance": self.provenance}

    def check(self, counts: np.ndarray, channels: int, name: str, exact: bool = True) -> Pool:
        """Return self, or raise ContractError where the generator did not deliver what was asked."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != channels:
            raise ContractError(
                f"generator {name!r} must return uint8 (n, H, W, {channels}), got {self.images.dtype} "
                f"{self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.images),):
            raise ContractError(
                f"generator {name!r} must return int64 labels, one an image, got {self.labels.dtype} "
                f"{self.labels.shape} for {len(self.images)} images"
            )
        if (self.labels < 0).any() or (self.labels >= len(counts)).any() or not self._delivers(counts, exact):
            raise ContractError(
                f"generator {name!r} was asked for {counts.tolist()} images per class and returned "
                f"{self.counts(len(counts)).tolist() if (self.labels >= 0).all() else 'labels below 0'}"
            )
        return self

    def _delivers(self, counts: np.ndarray, exact: bool) -> bool:
        made = self.counts(len(counts))
        return np.array_equal(made, counts) if exact else bool((made <= counts).all())
