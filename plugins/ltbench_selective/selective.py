"""The generator `selective`: another generator's images, kept where they lie with their own class."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import ltbench
from ltbench.errors import DataError
from ltbench.interfaces import Context, Generator, Guide, ImageTable
from ltbench.models.drawing import asked_counts
from ltbench.options import choice, number
from ltbench_selective.filter import (
    CopyGuard,
    centroid_distances,
    class_centroids,
    nearest_is_target,
    unit_features,
)
from ltbench_selective.harvest import Harvest

log = logging.getLogger("ltbench")
SHORTFALL = ("keep_fewer", "error", "fill_random")


class Selective(Generator):
    """Over-generate, keep candidates whose nearest class centroid is their own, nearest first; Xue et al. 2021.

    So does the released code of Ye et al. 2023. Features are those of a classifier trained on the real training images
    alone. base: the generator (id or {name, options}). oversample: candidates of a round over images asked. limit:
    candidates at most, over images asked, hence at most limit / oversample rounds, rounded up. reserve: the first round
    is made large enough for this share of the real images in equal parts per class, so that smaller quotas get the
    first places of one ranking. min_confidence: least probability of the class, averaged over the image and, where the
    protocol mirrors images, its mirror image; 0 = off. shrink: pseudo-images at the overall mean in each centroid.
    on_shortfall: "keep_fewer", "error" or "fill_random" (rejected candidates). copy_guard: candidates as near to a
    training image as this share of the validation images is at most are rejected as copies; 0 = off.
    """

    exact = False
    later_options: ClassVar[frozenset[str]] = frozenset({"copy_guard"})

    def __init__(
        self,
        *,
        base: str | Mapping[str, Any],
        oversample: float = 2.0,
        limit: float = 10.0,
        reserve: float = 0.0,
        min_confidence: float = 0.0,
        shrink: float = 0.0,
        on_shortfall: str = "keep_fewer",
        copy_guard: float = 0.0,
    ) -> None:
        self.base = base
        self.inner: Generator = ltbench.build("generator", base)
        self.oversample = number("generator.oversample", oversample, 1.0, example=2)
        self.limit = number("generator.limit", limit, self.oversample, example=10)
        self.reserve = number("generator.reserve", reserve, example=3)
        self.min_confidence = number("generator.min_confidence", min_confidence, high=1, example=0.7)
        self.shrink = number("generator.shrink", shrink, example=2)
        self.on_shortfall = choice("generator.on_shortfall", on_shortfall, SHORTFALL)
        self.copy_guard = number("generator.copy_guard", copy_guard, high=1, example=0.01)
        self.guided, self.conditional = self.inner.guided, self.inner.conditional
        self.value_range = self.inner.value_range  # type: ignore[misc]
        self._notes: dict[str, float] = {}

    def fit(self, table: ImageTable, context: Context) -> None:
        self.names, self.n_real, self.channels = context.task.class_names, len(table), table.images.shape[3]
        self.reference = context.reference("features")
        features = unit_features(self.reference.features(table.images))
        self.centroids = class_centroids(features, table.labels, self.names, self.shrink)
        for k in np.flatnonzero(context.task.class_counts == 1):
            log.warning("class %r has one training image: its centroid is that image", self.names[k])
        self.mirrored = bool(context.recipe["protocol"]["augment"].get("flip", False))
        unseen = unit_features(self.reference.features(context.held_out.images))
        held_out = centroid_distances(unseen, self.centroids)
        self.real_distance = float(held_out[np.arange(len(held_out)), context.held_out.labels].mean())
        self.guard = CopyGuard(features, unseen, self.copy_guard) if self.copy_guard else None
        self.inner = context.fit_generator(self.base)

    def distances(self, images: np.ndarray) -> np.ndarray:
        """Distance of uint8 images (n, h, w, c) to every class centroid, (n, C)."""
        return centroid_distances(unit_features(self.reference.features(images)), self.centroids)

    def confidence(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Probability of the label, (n,), averaged over each image and, where classes allow it, its mirror image."""
        seen = self.reference.predict(images)
        if self.mirrored:
            seen = (seen + self.reference.predict(np.ascontiguousarray(images[:, :, ::-1]))) / 2
        return seen[np.arange(len(labels)), labels]

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        counts = asked_counts(counts, len(self.names))
        seed = int(rng.integers(2**63))
        least = math.ceil(self.reserve * self.n_real / len(counts))
        block = np.where(counts > 0, np.ceil(self.oversample * np.maximum(counts, least)), 0).astype(np.int64)
        most = np.maximum(np.floor(self.limit * counts).astype(np.int64), block)
        harvest, attempt, copied = Harvest(counts, spare=self.on_shortfall == "fill_random"), 0, 0
        while (asked := np.where(harvest.short() > 0, np.minimum(block, most - harvest.made), 0)).any():
            images, labels = self.inner.sample(asked, guide=guide, rng=np.random.default_rng((seed, attempt)))
            features = unit_features(self.reference.features(images))
            distances = centroid_distances(features, self.centroids)
            accepted = nearest_is_target(distances, labels)
            if self.min_confidence:
                accepted &= self.confidence(images, labels) >= self.min_confidence
            if self.guard:  # copies do not even fill a shortfall
                new = ~self.guard.copies(features)
                copied += int((~new).sum())
                images, labels, distances, accepted = images[new], labels[new], distances[new], accepted[new]
            harvest.add(images, labels, distances, accepted, asked)
            attempt += 1
        self._shortfall(harvest, np.random.default_rng((seed, attempt)))
        self._notes = {
            **harvest.notes(),
            "real_distance": self.real_distance,
            **({"copies": float(copied)} if self.guard else {}),
            **{f"inner_{name}": value for name, value in self.inner.notes().items()},
        }
        return harvest.images(self.channels)

    def _shortfall(self, harvest: Harvest, rng: np.random.Generator) -> None:
        """Say which classes fell short, and do what `on_shortfall` asks for."""
        if not harvest.short().any():
            return
        lines = [
            f"{self.names[k]!r}: {harvest.counts[k] - missing} of {harvest.counts[k]} images kept from "
            f"{harvest.made[k]} candidates, whose nearest centroids are {harvest.nearest[k].tolist()}"
            for k, missing in enumerate(harvest.short())
            if missing
        ]
        rounds = f"{harvest.rounds} rounds" if harvest.rounds > 1 else "1 round"
        text = (
            f"selection fell short in {len(lines)} classes after {rounds}; {'; '.join(lines)}; "
            f"raise generator.limit={self.limit:g}, or take fewer images"
        )
        if self.on_shortfall == "error":
            raise DataError(text)
        log.warning("%s", text)
        if self.on_shortfall == "fill_random":
            harvest.fill(rng)

    def notes(self) -> dict[str, float]:
        """asked, generated, rounds, kept, missing, filled, accepted_rate; mean distances: kept, rejected, held-out.

        missing_class[k] of classes that fell short; copies: candidates that the copy guard refused, where it is on.
        """
        return self._notes
