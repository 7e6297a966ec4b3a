"""Drawing images from a network: one random stream an image, batches that fit, and real rows for training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ltbench.errors import ContractError, DataError, LtbenchError, NonFinite
from ltbench.models.images import to_uint8
from ltbench.options import number

REDRAWS = 2
CPU_PIXELS = 2**15  # at once through a network: maps much larger are allocated anew, page by page, at every layer


class Streams:
    """One random stream for every image, keyed by (seed, its class, its number within the class, tag).

    So an image depends neither on the batch it is drawn in nor on how many others are asked for.
    """

    def __init__(self, seed: int, labels: np.ndarray) -> None:
        self.seed, self.labels = int(seed), np.asarray(labels)
        self.index = np.zeros(len(self.labels), dtype=np.int64)
        for k in np.unique(self.labels):
            rows = self.labels == k
            self.index[rows] = np.arange(rows.sum())

    def normal(self, rows: np.ndarray, shape: tuple[int, ...], *tag: int) -> Tensor:
        """Standard normal float32 (len(rows), *shape); one tag gives the same numbers every time."""
        drawn = np.empty((len(rows), *shape), dtype=np.float32)
        for place, row in enumerate(rows):
            key = (self.seed, int(self.labels[row]) + 1, int(self.index[row]), *tag)
            drawn[place] = np.random.Generator(np.random.SFC64(key)).standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(drawn)


def wanted_labels(counts: np.ndarray) -> np.ndarray:
    """counts[k] times label k, int64 (n,), in the order of the classes."""
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def asked_counts(counts: np.ndarray, num_classes: int) -> np.ndarray:
    """The counts int64 (num_classes,); ContractError for another length or numbers that are not whole and >= 0."""
    found = np.asarray(counts)
    if found.shape != (num_classes,) or found.dtype.kind not in "iu" or (found < 0).any():
        raise ContractError(
            f"counts must be {num_classes} whole numbers >= 0, one a class, got {found.tolist()}; ask for 0 of a class "
            "that is not wanted"
        )
    return found.astype(np.int64)


def at_once(batch: int, shape: tuple[int, ...], device: torch.device) -> int:
    """How many inputs of shape (c, h, w) to send through a network: the batch asked for, on a CPU what it does fast."""
    return batch if device.type == "cuda" else max(1, min(batch, CPU_PIXELS // (shape[-2] * shape[-1])))


def draw_images(
    n: int, shape: tuple[int, int, int], run: Callable[[np.ndarray, int], Tensor], *, batch: int, hint: str
) -> tuple[np.ndarray, int]:
    """n images uint8 (n, h, w, c) of shape (c, h, w), and how many were drawn again.

    run(rows, attempt) gives x (len(rows), c, h, w) in [-1, 1]; attempt is 0, then 1, 2 for images that came out
    constant or not finite. Batches are halved where the device's memory does not suffice, down to one image and no
    further; the images are the same where `run` draws from one stream an image. NonFinite with the hint where an image
    stays unusable, LtbenchError where a single one does not fit the memory.
    """
    channels, height, width = shape
    images = np.empty((n, height, width, channels), dtype=np.uint8)
    rows, again, batch = np.arange(n), 0, max(1, batch)
    for attempt in range(REDRAWS + 1):
        broken: list[int] = []
        start = 0
        while start < len(rows):
            part = rows[start : start + batch]
            x: Tensor | None = None  # what the last batch held is free for this one
            try:
                x = run(part, attempt)
            except torch.cuda.OutOfMemoryError as error:
                if len(part) == 1:
                    raise LtbenchError(
                        f"the device's memory does not suffice to draw a single image ({str(error)[:120]}); free it, "
                        "draw smaller images (generator.size or generator.max_size), or use --device cpu"
                    ) from error
            if x is None:  # here, and not above, where the error still holds what the batch had allocated
                torch.cuda.empty_cache()
                batch = len(part) // 2
                continue
            images[part] = to_uint8(torch.nan_to_num(x))
            flat = images[part].reshape(len(part), -1)
            bad = ~torch.isfinite(x).flatten(1).all(1).cpu().numpy() | (flat.max(1) == flat.min(1))
            broken += part[bad].tolist()
            start += batch
        if not broken:
            return images, again
        rows = np.array(broken)
        again += len(rows) if attempt < REDRAWS else 0
    raise NonFinite(f"{len(rows)} of {n} images stay constant or non-finite after {REDRAWS} redraws, {hint}")


class TrainingRows:
    """Batches of training rows with classes drawn as P(k) ~ n_k^power: 1 as they are, 0.5 square root, 0 balanced.

    Draws come from torch's global generator, which `context.steps` seeds anew at every step. DataError for a class
    without an image.
    """

    def __init__(self, labels: np.ndarray, class_names: tuple[str, ...], power: float = 1.0) -> None:
        number("generator.label_power", power, high=1, ends="[]", example=0.5)
        num_classes = len(class_names)
        counts = np.bincount(labels, minlength=num_classes)
        for k in np.flatnonzero(counts == 0):
            raise DataError(
                f"class {class_names[k]!r} has no training image, so a generator cannot learn it; "
                "choose another split or drop the class"
            )
        share = counts.astype(np.float64) ** power
        self.share = torch.from_numpy(share / share.sum())
        self.weights = self.share[torch.from_numpy(labels)] / torch.from_numpy(counts)[torch.from_numpy(labels)]

    def rows(self, n: int) -> Tensor:
        """n rows, int64 (n,), with replacement."""
        return torch.multinomial(self.weights, n, replacement=True)

    def labels(self, n: int) -> Tensor:
        """n labels for made images under the same law, int64 (n,)."""
        return torch.multinomial(self.share, n, replacement=True)
