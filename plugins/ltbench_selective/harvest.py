"""What the rounds of a selection have brought so far."""

from __future__ import annotations

import numpy as np

from ltbench_selective.filter import ranked


class Harvest:
    """Kept images per class, up to counts (C,); earlier rounds come before later ones, within a round nearest first.

    made (C,): candidates so far. nearest (C, C): candidates of class i whose nearest centroid is that of class j.
    spare: keep rejected candidates for `fill`.
    """

    def __init__(self, counts: np.ndarray, *, spare: bool = False) -> None:
        self.counts, self.spare, self.rounds = counts, spare, 0
        self.kept: list[list[np.ndarray]] = [[] for _ in counts]
        self.rejected: list[list[np.ndarray]] = [[] for _ in counts]
        self.made = np.zeros(len(counts), dtype=np.int64)
        self.nearest = np.zeros((len(counts), len(counts)), dtype=np.int64)
        self.accepted = self.filled = 0
        self.kept_distances: list[float] = []
        self.rejected_distances: list[float] = []

    def short(self) -> np.ndarray:
        """Images still missing per class, int64 (C,)."""
        return self.counts - np.array([len(images) for images in self.kept])

    def add(
        self, images: np.ndarray, labels: np.ndarray, distances: np.ndarray, accepted: np.ndarray, asked: np.ndarray
    ) -> None:
        """Take what the classes that were asked for still need from a round's candidates."""
        self.made += asked
        self.rounds += 1
        self.accepted += int(accepted.sum())
        np.add.at(self.nearest, (labels, distances.argmin(axis=1)), 1)
        short = self.short()
        for k in np.flatnonzero(asked):
            chosen = ranked(distances, labels, accepted, int(k))[: short[k]]
            self.kept[k] += [images[i].copy() for i in chosen]  # a view would hold the whole round
            self.kept_distances += distances[chosen, k].tolist()
            refused = np.flatnonzero(~accepted & (labels == k))
            if self.spare:
                self.rejected[k] += [images[i].copy() for i in refused]
            self.rejected_distances += distances[refused, k].tolist()

    def fill(self, rng: np.random.Generator) -> None:
        """Rejected candidates, drawn at random, in place of the missing images."""
        for k, missing in enumerate(self.short()):
            drawn = rng.permutation(len(self.rejected[k]))[:missing]
            self.kept[k] += [self.rejected[k][i] for i in drawn]
            self.filled += len(drawn)

    def images(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """The kept images uint8 (n, h, w, c) and their labels int64 (n,)."""
        every = [image for images in self.kept for image in images]
        labels = np.repeat(np.arange(len(self.kept), dtype=np.int64), [len(images) for images in self.kept])
        return (np.stack(every) if every else np.zeros((0, 1, 1, channels), np.uint8)), labels

    def notes(self) -> dict[str, float]:
        """Totals for the record."""
        kept = sum(len(images) for images in self.kept)
        made = int(self.made.sum())
        return {
            "asked": float(self.counts.sum()),
            "generated": float(made),
            "rounds": float(self.rounds),
            "kept": float(kept),
            "missing": float(self.counts.sum() - kept),
            **{f"missing_class[{k}]": float(missing) for k, missing in enumerate(self.short()) if missing},
            "filled": float(self.filled),
            "accepted_rate": self.accepted / made if made else float("nan"),
            "kept_distance": float(np.mean(self.kept_distances)) if self.kept_distances else float("nan"),
            "rejected_distance": float(np.mean(self.rejected_distances)) if self.rejected_distances else float("nan"),
        }
