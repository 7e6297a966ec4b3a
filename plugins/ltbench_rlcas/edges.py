"""Edge sketches of images, by name: what the sketch branch learns to predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ltbench.errors import DataError, UserError
from ltbench.interfaces import Context
from ltbench.models.images import resized
from ltbench.options import choice, number

EXTRACTORS = ("sobel", "canny", "pidinet")
THRESHOLDS = (0.1, 0.2)  # of Canny's gradient magnitude
BATCH = 64  # images a step


@dataclass(frozen=True)
class Edges:
    """run: uint8 images (n, h, w, c) -> edges (n, h, w) in [0, 1]; facts: all that its result depends on."""

    facts: dict[str, Any]
    run: Callable[[np.ndarray], np.ndarray]


def grey(images: np.ndarray) -> np.ndarray:
    """Luma (Rec. 601) in [0, 1], float64 (n, h, w), of uint8 images with 1 or 3 channels."""
    weights = [1.0] if images.shape[3] == 1 else [0.299, 0.587, 0.114]
    return images.astype(np.float64) @ np.array(weights) / 255


def gradients(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel gradients down and across, each shaped as x (n, h, w); the border is repeated."""

    def along(axis: int) -> np.ndarray:
        slope = ndimage.correlate1d(x, [-1.0, 0.0, 1.0], axis=axis, mode="nearest")
        return ndimage.correlate1d(slope, [1.0, 2.0, 1.0], axis=3 - axis, mode="nearest")

    return along(1), along(2)


def blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of every picture (n, h, w); sigma in px."""
    return ndimage.gaussian_filter(x, (0, sigma, sigma), mode="nearest")


def sobel(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gradient magnitude of blurred x (n, h, w) over its 99th percentile in each picture, at most 1."""
    magnitude = np.hypot(*gradients(blurred(x, sigma)))
    top = np.percentile(magnitude, 99, axis=(1, 2), keepdims=True)
    return np.divide(magnitude, top, out=np.zeros_like(magnitude), where=top > 1e-9).clip(0, 1)


def canny(x: np.ndarray, sigma: float) -> np.ndarray:
    """0 or 1 (n, h, w): ridges of the gradient magnitude above 0.1 that touch one above 0.2 (Canny 1986)."""
    down, across = gradients(blurred(x, sigma))
    magnitude = np.hypot(down, across)
    padded = np.pad(magnitude, ((0, 0), (1, 1), (1, 1)))
    sector = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    height, width = x.shape[1:]
    ridge = np.zeros(x.shape, dtype=bool)
    for k, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):  # along the gradient
        ahead = padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        behind = padded[:, 1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
        ridge |= (sector == k) & (magnitude >= ahead) & (magnitude > behind)
    result = np.zeros(x.shape)
    for i, (weak, strong) in enumerate(
        ((m * r > THRESHOLDS[0], m * r > THRESHOLDS[1]) for m, r in zip(magnitude, ridge, strict=True))
    ):
        parts, _ = ndimage.label(weak, structure=np.ones((3, 3)))
        result[i] = np.isin(parts, np.unique(parts[strong])) & weak
    return result


def build_edges(name: str, *, sigma: float, path: str | None, device: torch.device) -> Edges:
    """An extractor by name; UserError for unknown names and options, DataError for missing or foreign weights."""
    check(name, sigma, path)
    if name == "pidinet":
        from ltbench_rlcas.pidinet import load_pidinet

        return Edges(*load_pidinet(str(path), device))
    function = {"sobel": sobel, "canny": canny}[name]
    return Edges({"edges": name, "sigma": float(sigma)}, lambda images: function(grey(images), sigma))


def check(name: Any, sigma: Any, path: Any) -> None:
    """UserError naming the first option that cannot be used."""
    choice("generator.edges", name, EXTRACTORS)
    number("generator.edges_sigma", sigma, example=1.0)
    if (name == "pidinet") != (path is not None):
        raise UserError(
            "generator.edges=pidinet and generator.edges_path=FILE, its weights, go together: nothing is downloaded; "
            f"got edges={name}, edges_path={path}"
        )


class Sketches:
    """Sketches in the making, uint8 (n, 1, h, w)."""

    def __init__(self, n: int, side: int) -> None:
        self.values = torch.zeros(n, 1, side, side, dtype=torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        """The sketches."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.values = state["values"].cpu()


def sketches_of(images: np.ndarray, side: int, edges: Edges, context: Context) -> Tensor:
    """Sketches uint8 (n, 1, side, side) of uint8 images (n, H, W, c), made once in a cached phase.

    DataError where the extractor gives another size or values that are not in [0, 1].
    """
    made = Sketches(len(images), side)
    for step in context.steps("sketches", -(-len(images) // BATCH), made, options={**edges.facts, "side": side}):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        x = resized(images[rows], (side, side)).permute(0, 2, 3, 1).numpy()
        found = np.asarray(edges.run(x))
        if found.shape != x.shape[:3]:
            raise DataError(
                f"edges {edges.facts['edges']!r} gave sketches {found.shape} for images {x.shape[:3]}; "
                "it must keep their size, or --set generator.edges=sobel"
            )
        if not ((found >= 0) & (found <= 1)).all():
            raise DataError(
                f"edges {edges.facts['edges']!r} gave values outside [0, 1]: {found.min():g} to {found.max():g}; "
                "scale them, or --set generator.edges=sobel"
            )
        made.values[rows, 0] = torch.from_numpy(np.rint(found * 255).astype(np.uint8))
    return made.values
