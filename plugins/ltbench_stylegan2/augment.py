"""Adaptive discriminator augmentation: the pipeline and the controller of its probability (arXiv 2006.06676)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ltbench.errors import UserError
from ltbench_stylegan2.colour import random_colour, recolour
from ltbench_stylegan2.geometry import random_geometry, warp, warp_lite

GEOMETRY = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac")
COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
GROUPS = {"b": GEOMETRY[:3], "g": GEOMETRY[3:], "c": COLOUR}
UPRIGHT = "xint+scale+aniso+xfrac+c"  # for classes that flips and rotations turn into one another


class Pipeline:
    """Random changes of everything the discriminator sees, differentiable in the images.

    spec: groups b (flips, quarter turns, whole-pixel shifts), g (other geometry), c (colour) and single transforms
    joined by "+", for example "bgc"; with "-lite" at the end geometry is bilinear, without the wavelet.
    """

    def __init__(self, spec: str) -> None:
        body = spec.removesuffix("-lite")
        self.lite = body != spec
        names: list[str] = []
        for part in body.split("+"):
            if part in (*GEOMETRY, *COLOUR):
                names.append(part)
            elif part and all(letter in GROUPS for letter in part):
                names += [name for letter in part for name in GROUPS[letter]]
            else:
                raise UserError(
                    f"generator.pipeline must name groups (b, g, c) or transforms ({', '.join((*GEOMETRY, *COLOUR))}) "
                    f"joined by +, got {spec!r}; for example --set generator.pipeline=bgc"
                )
        self.geometry, self.colour = set(names) & set(GEOMETRY), set(names) & set(COLOUR)

    def __call__(self, x: Tensor, p: float) -> Tensor:
        """x (B, c, side, side) with every transform acting on every image with probability p."""
        if self.geometry:
            matrix = random_geometry(self.geometry, len(x), x.shape[-1], p, x)
            x = warp_lite(x, matrix) if self.lite else warp(x, matrix)
        if self.colour:
            x = recolour(x, random_colour(self.colour, len(x), x.shape[1], p, x))
        return x


class Controller:
    """The probability p: up while the mean sign of D(real) is above the target, else down.

    p moves by images / (1000 kimg) at each adjustment; ceiling: beyond about 0.8 the augmentation leaks into samples.
    """

    def __init__(self, *, kimg: float, target: float = 0.6, ceiling: float = 0.8) -> None:
        self.kimg, self.target, self.ceiling = kimg, target, ceiling
        self.p, self.seen = 0.0, 0
        self.signs: Tensor | float = 0.0

    def observe(self, logits: Tensor) -> None:
        """Take note of discriminator outputs (B,) on real images."""
        self.signs = self.signs + logits.detach().sign().sum()
        self.seen += len(logits)

    def adjust(self, images: int) -> None:
        """Move p for `images` images since the last adjustment."""
        if not self.seen:
            return
        excess = float(self.signs) / self.seen - self.target
        step = ((excess > 0) - (excess < 0)) * images / (self.kimg * 1000)
        self.p = min(max(self.p + step, 0.0), self.ceiling)
        self.signs, self.seen = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """p and what was observed since the last adjustment."""
        return {"p": self.p, "signs": float(self.signs), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.p, self.signs, self.seen = state["p"], state["signs"], state["seen"]
