"""samples.png: synthetic images beside their nearest real training images, per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ltbench import drawings
from ltbench.engine.context import CellContext

PER_CLASS = 6


def nearest_rows(images: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Row of the nearest real image (n,) by pixel distance; both uint8 of one size."""
    a = images.reshape(len(images), int(np.prod(images.shape[1:]))).astype(np.float32) / 255
    best, rows = np.full(len(a), np.inf, np.float32), np.zeros(len(a), np.int64)
    for start in range(0, len(real), 1024):
        b = real[start : start + 1024].reshape(-1, a.shape[1]).astype(np.float32) / 255
        distances = (b**2).sum(1)[None] - 2 * a @ b.T
        closer = distances.min(1) < best
        best[closer], rows[closer] = distances.min(1)[closer], distances.argmin(1)[closer] + start
    return rows


def draw_samples(path: Path, images: np.ndarray, labels: np.ndarray, real: np.ndarray, context: CellContext) -> None:
    """Rows are classes; left of the gap synthetic images, right of it the nearest real ones, their class above."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, real_labels = context.task.class_names, context.train.labels
    grid = Figure(figsize=(2 * PER_CLASS * 0.75 + 1.5, len(names) * 0.95 + 0.6))
    FigureCanvasAgg(grid)
    axes = grid.subplots(
        len(names), 2 * PER_CLASS + 1, squeeze=False, width_ratios=[1] * PER_CLASS + [0.3] + [1] * PER_CLASS
    )
    for axis in axes.flat:
        axis.axis("off")
    for k, name in enumerate(names):
        rows = np.flatnonzero(labels == k)[:PER_CLASS]
        near = nearest_rows(images[rows], real)
        for column, (row, other) in enumerate(zip(rows, near, strict=True)):
            _show(axes[k, column], images[row])
            right = axes[k, PER_CLASS + 1 + column]
            _show(right, real[other])
            right.set_title(names[real_labels[other]], fontsize=5, pad=1)
        axes[k, 0].text(-0.15, 0.5, name, transform=axes[k, 0].transAxes, ha="right", va="center", fontsize=7)
    grid.text(0.3, 0.985, "synthetic", ha="center", va="top", fontsize=9)
    grid.text(0.77, 0.985, "nearest real training image", ha="center", va="top", fontsize=9)
    grid.subplots_adjust(left=0.1, right=0.99, bottom=0.01, top=0.93, wspace=0.05, hspace=0.25)
    drawings.save(grid, path, dpi=110)


def _show(axis: object, image: np.ndarray) -> None:
    grey = image.shape[2] == 1
    axis.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)  # type: ignore[attr-defined]
