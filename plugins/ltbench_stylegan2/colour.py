"""Random colour of the adaptive augmentation: one affine map of RGB an image (arXiv 2006.06676, appendix B).

A map is a pair (matrix (B, 3, 3), offset (B, 3)); contrast and luma act about 0, which is mid-grey.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

Affine = tuple[Tensor, Tensor]


def identity(n: int, like: Tensor) -> Affine:
    """n maps that change nothing."""
    eye = torch.eye(3, dtype=like.dtype, device=like.device).repeat(n, 1, 1)
    return eye, torch.zeros(n, 3, dtype=like.dtype, device=like.device)


def _grey(like: Tensor) -> Tensor:
    """Projection onto the grey axis, (3, 3)."""
    return torch.full((3, 3), 1 / 3, dtype=like.dtype, device=like.device)


def brightness(colour: Affine, amount: Tensor) -> Affine:
    """Add amounts (B,)."""
    return colour[0], colour[1] + amount[:, None]


def _apply(colour: Affine, matrix: Tensor) -> Affine:
    return matrix @ colour[0], (matrix @ colour[1][:, :, None])[:, :, 0]


def contrast(colour: Affine, factor: Tensor) -> Affine:
    """Multiply by factors (B,)."""
    return colour[0] * factor[:, None, None], colour[1] * factor[:, None]


def luma_flip(colour: Affine, flip: Tensor) -> Affine:
    """Mirror the luma where flip (B,) is 1: the Householder matrix of the grey axis."""
    eye = torch.eye(3, dtype=flip.dtype, device=flip.device)
    return _apply(colour, eye - 2 * _grey(flip) * flip[:, None, None])


def hue(colour: Affine, angle: Tensor) -> Affine:
    """Rotate about the grey axis by angles (B,) in radians; 120 degrees take red to green."""
    eye = torch.eye(3, dtype=angle.dtype, device=angle.device)
    cross = eye.roll(1, 0) - eye.roll(-1, 0)
    sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return _apply(colour, cosine * eye + sine * cross / math.sqrt(3) + (1 - cosine) * _grey(angle))


def saturation(colour: Affine, factor: Tensor) -> Affine:
    """Multiply the distance from the grey axis by factors (B,)."""
    eye = torch.eye(3, dtype=factor.dtype, device=factor.device)
    return _apply(colour, _grey(factor) + (eye - _grey(factor)) * factor[:, None, None])


def random_colour(names: Collection[str], n: int, image_channels: int, p: float, like: Tensor) -> Affine:
    """Maps of the named transforms, each acting on an image with probability p; hue is nothing to grey images."""

    def gated(value: Tensor, rest: float) -> Tensor:
        return torch.where(uniform() < p, value, torch.full_like(value, rest))

    def uniform() -> Tensor:
        return torch.rand(n, dtype=like.dtype, device=like.device)

    def normal() -> Tensor:
        return torch.randn(n, dtype=like.dtype, device=like.device)

    colour = identity(n, like)
    if "brightness" in names:
        colour = brightness(colour, gated(0.2 * normal(), 0))
    if "contrast" in names:
        colour = contrast(colour, gated(torch.exp2(0.5 * normal()), 1))
    if "lumaflip" in names:
        colour = luma_flip(colour, gated((uniform() * 2).floor(), 0))
    if "hue" in names and image_channels > 1:
        colour = hue(colour, gated((uniform() * 2 - 1) * math.pi, 0))
    if "saturation" in names and image_channels > 1:
        colour = saturation(colour, gated(torch.exp2(normal()), 1))
    return colour


def recolour(x: Tensor, colour: Affine) -> Tensor:
    """Images (B, 3, H, W) or (B, 1, H, W) through the maps; one channel takes the mean of the map's rows."""
    matrix, offset = colour
    if x.shape[1] == 1:
        matrix, offset = matrix.mean(1).sum(1)[:, None, None], offset.mean(1, keepdim=True)
    return (matrix @ x.flatten(2) + offset[:, :, None]).view_as(x)
