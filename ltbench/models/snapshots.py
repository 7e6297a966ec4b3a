"""The best weights of a generator by its distance to held-out images."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import nn

from ltbench.errors import DataError
from ltbench.interfaces import ImageTable, ReferenceModel
from ltbench.metrics import frechet_from_features


class Snapshots:
    """Keeps the weights with the smallest Frechet distance between features of drawn and of validation images.

    labels: int64 (at least n,), the classes to draw, in the mix of the validation part. Raises DataError where that
    part has fewer than two images.
    """

    def __init__(self, reference: ReferenceModel, val: ImageTable, n: int) -> None:
        if len(val) < 2:
            raise DataError(
                f"the best snapshot is chosen on validation images and there are {len(val)}; choose another split, or "
                "keep the last one: --set generator.snapshot_kimg=0"
            )
        self.reference, self.target = reference, reference.features(val.images)
        self.labels = np.tile(val.labels, -(-n // len(val)))
        self.best: dict[str, Any] | None = None
        self.distance, self.kimg = float("inf"), 0.0

    @property
    def key(self) -> str:
        """What the choice depends on, as a hash: the features of the validation images and the labels drawn."""
        return hashlib.sha256(self.target.tobytes() + self.labels.tobytes()).hexdigest()[:16]

    def offer(self, images: np.ndarray, network: nn.Module, kimg: float) -> float:
        """Distance of images uint8 (n, H, W, c) drawn from the network; its weights are kept where it is the least."""
        distance = frechet_from_features(self.reference.features(images), self.target)
        if distance < self.distance:
            self.distance, self.kimg = distance, kimg
            self.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return distance

    def state_dict(self) -> dict[str, Any]:
        """The best weights, their distance and their age in thousand images."""
        return {"best": self.best, "distance": self.distance, "kimg": self.kimg}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.best, self.distance, self.kimg = state["best"], state["distance"], state["kimg"]
