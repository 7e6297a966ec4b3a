"""Pixel-space controls of a pool: spread within a class and nearness to training images."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ltbench.errors import ContractError

CHUNK = 256
QUERIES = 1000  # images whose nearest neighbour is searched
DUPLICATE = 1e-3  # two images that differ at all are 1/255 apart; below are exact duplicates


def resized(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images uint8 (n, H, W, c) at `shape` (h, w, c): area average when shrinking, bilinear when growing."""
    height, width, channels = shape
    if images.shape[1:] == (height, width, channels):
        return images
    if images.shape[3] != channels:
        raise ContractError(f"pool images have {channels} channels, real ones {images.shape[3]}; make them agree")
    how = Image.Resampling.BOX if height <= images.shape[1] else Image.Resampling.BILINEAR
    small = np.empty((len(images), height, width, channels), dtype=np.uint8)
    for row, image in enumerate(images):
        plane = np.asarray(image[:, :, 0] if channels == 1 else image)
        small[row] = np.asarray(Image.fromarray(plane).resize((width, height), how)).reshape(height, width, channels)
    return small


def within_class_sd(images: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Per class the mean over pixels of the sd (ddof 1) over its images, (C,), pixels in [0, 1]; nan below 2 images."""
    spread = np.full(num_classes, np.nan)
    for c in range(num_classes):
        rows = np.flatnonzero(labels == c)
        if len(rows) < 2:
            continue
        total = np.zeros(images[0].size)
        squares = np.zeros(images[0].size)
        for start in range(0, len(rows), CHUNK):
            pixels = images[rows[start : start + CHUNK]].reshape(-1, images[0].size).astype(np.float64)
            total += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
        n = len(rows)  # the sums are integers, so equal images have a variance of exactly 0
        spread[c] = np.sqrt((n * squares - total**2) / (n * (n - 1))).mean() / 255.0
    return spread


def nearest_ratio(images: np.ndarray, real: np.ndarray, seed: int) -> float:
    """Share of images nearer to a real one than the 1st percentile of real-to-real nearest distances.

    Distances are Euclidean in pixels of one size; exact duplicates among the real images do not count for the
    percentile. At most 1000 images of each side are looked up among all real ones. nan where undefined.
    """
    rng = np.random.default_rng([seed, 1])
    queries = rng.permutation(len(real))[:QUERIES]
    own = _nearest(real[queries], real, skip=queries)
    own = own[np.isfinite(own) & (own > DUPLICATE)]
    if len(own) == 0 or len(images) == 0:
        return float("nan")
    found = _nearest(images[rng.permutation(len(images))[:QUERIES]], real)
    return float((found < np.percentile(own, 1)).mean())


def _nearest(queries: np.ndarray, points: np.ndarray, skip: np.ndarray | None = None) -> np.ndarray:
    """Distance (q,) of each query to its nearest point, leaving out the point with index `skip`."""
    nearest = np.full(len(queries), np.inf)
    wanted = _pixels(queries)
    norms = (wanted**2).sum(axis=1)
    for start in range(0, len(points), CHUNK):
        block = _pixels(points[start : start + CHUNK])
        square = norms[:, None] + (block**2).sum(axis=1)[None, :] - 2 * wanted @ block.T
        if skip is not None:
            own = np.flatnonzero((skip >= start) & (skip < start + CHUNK))
            square[own, skip[own] - start] = np.inf
        nearest = np.minimum(nearest, np.sqrt(np.maximum(square, 0.0)).min(axis=1))
    return nearest


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64) / 255.0
