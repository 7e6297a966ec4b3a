"""Random geometry of the adaptive augmentation: one matrix an image, carried out between two halves of a wavelet.

Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, NeurIPS (arXiv 2006.06676), appendix B.
Coordinates are homogeneous pixels, the origin in the image's centre, x to the right, y down. A matrix maps positions
of the output to positions of the input: each transform T of the chain is appended as M <- M T^-1.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench_stylegan2.layers import fir

SYM6 = (
    0.015404109327027,
    0.003490712084217,
    -0.117990111148191,
    -0.048311742585633,
    0.491055941926747,
    0.787641141030194,
    0.337929421727622,
    -0.072637522786463,
    -0.021060292512301,
    0.044724901770666,
    0.001767711864243,
    -0.007800708325034,
)
MARGIN = len(SYM6) // 2


def shift(x: Tensor, y: Tensor) -> Tensor:
    """Translation matrices (B, 3, 3) by x (B,) and y (B,) pixels."""
    matrix = torch.eye(3, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def scale(x: Tensor, y: Tensor) -> Tensor:
    """Scale matrices (B, 3, 3) with factors x (B,) and y (B,)."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices (B, 3, 3) by angles (B,) in radians."""
    matrix = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 1, 0], matrix[:, 0, 1] = angle.sin(), -angle.sin()
    return matrix


def pre_rotation_probability(p: float) -> float:
    """Probability of each of the two rotations, so that any rotation happens with probability p."""
    return 1 - math.sqrt(max(1 - p, 0.0))


def random_geometry(names: Collection[str], n: int, side: int, p: float, like: Tensor) -> Tensor:
    """Matrices (n, 3, 3) of the named transforms, each of which acts on an image with probability p."""

    def gated(value: Tensor, rest: float, probability: float) -> Tensor:
        return torch.where(uniform() < probability, value, torch.full_like(value, rest))

    def uniform() -> Tensor:
        return torch.rand(n, dtype=like.dtype, device=like.device)

    def normal() -> Tensor:
        return torch.randn(n, dtype=like.dtype, device=like.device)

    one = torch.ones(n, dtype=like.dtype, device=like.device)
    matrix = scale(one, one)
    if "xflip" in names:
        matrix = matrix @ scale(gated(1 - 2 * (uniform() * 2).floor(), 1, p), one)
    if "rotate90" in names:
        matrix = matrix @ rotation(gated((uniform() * 4).floor(), 0, p) * (math.pi / 2))
    if "xint" in names:
        chosen = uniform() < p
        x, y = (torch.where(chosen, ((uniform() * 2 - 1) * 0.125 * side).round(), 0 * one) for _ in range(2))
        matrix = matrix @ shift(-x, -y)
    if "scale" in names:
        inverse = gated(torch.exp2(-0.2 * normal()), 1, p)
        matrix = matrix @ scale(inverse, inverse)
    if "rotate" in names:
        matrix = matrix @ rotation(gated((uniform() * 2 - 1) * math.pi, 0, pre_rotation_probability(p)))
    if "aniso" in names:
        factor = gated(torch.exp2(0.2 * normal()), 1, p)
        matrix = matrix @ scale(1 / factor, factor)
    if "rotate" in names:
        matrix = matrix @ rotation(gated((uniform() * 2 - 1) * math.pi, 0, pre_rotation_probability(p)))
    if "xfrac" in names:
        chosen = uniform() < p
        x, y = (torch.where(chosen, normal() * 0.125 * side, 0 * one) for _ in range(2))
        matrix = matrix @ shift(-x, -y)
    return matrix


def bilinear(x: Tensor, px: Tensor, py: Tensor, *, reflect: bool = False) -> Tensor:
    """x (B, C, H, W) at pixel positions px, py (B, h, w); outside zero, or reflected at the outer pixel edges.

    Gathers, so it can be differentiated in x as often as wanted, on every device.
    """
    b, c, height, width = x.shape
    if reflect:
        px, py = _reflected(px, width), _reflected(py, height)
    left, top = px.floor(), py.floor()
    flat = x.flatten(2)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for column, share_x in ((left, 1 - (px - left)), (left + 1, px - left)):
        for row, share_y in ((top, 1 - (py - top)), (top + 1, py - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            values = flat.gather(2, place.flatten(1)[:, None].expand(-1, c, -1))
            total = total + values * (share_x * share_y * inside).flatten(1)[:, None]
    return total.view(b, c, *px.shape[1:])


def _reflected(position: Tensor, size: int) -> Tensor:
    folded = (position + 0.5).remainder(2 * size)
    return (size - (folded - size).abs() - 0.5).clamp(0, size - 1)


def _positions(matrix: Tensor, size_in: tuple[int, int], size_out: tuple[int, int]) -> tuple[Tensor, Tensor]:
    rows, columns = (
        torch.arange(n, dtype=matrix.dtype, device=matrix.device) - (n - 1) / 2 for n in size_out
    )  # relative to the centre
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    mapped = (matrix[:, :2, :, None, None] * torch.stack([x, y, torch.ones_like(x)])[None, None]).sum(2)
    return mapped[:, 0] + (size_in[1] - 1) / 2, mapped[:, 1] + (size_in[0] - 1) / 2


def warp_lite(x: Tensor, matrix: Tensor) -> Tensor:
    """x (B, C, H, W) moved by matrices (B, 3, 3): bilinear at its own size, reflected; cheap, blurs a little."""
    size = (x.shape[2], x.shape[3])
    return bilinear(x, *_positions(matrix, size, size), reflect=True)


def warp(x: Tensor, matrix: Tensor) -> Tensor:
    """x (B, C, H, W) moved by matrices (B, 3, 3): reflected, doubled with the sym6 filter, sampled, halved again."""
    _, _, height, width = x.shape
    x0, x1, y0, y1 = _margins(matrix, width, height)
    x = F.pad(x, (x0, x1, y0, y1), mode="reflect")
    one = torch.ones(len(x), dtype=matrix.dtype, device=matrix.device)
    matrix = shift(one * ((x0 - x1) / 2), one * ((y0 - y1) / 2)) @ matrix
    x = fir(x, taps=SYM6[::-1], up=2, before=MARGIN, after=MARGIN - 1, gain=2.0)  # reversed taps: a convolution
    matrix = scale(2 * one, 2 * one) @ matrix @ scale(one / 2, one / 2)
    matrix = shift(-one / 2, -one / 2) @ matrix @ shift(one / 2, one / 2)
    size_out = (2 * (height + MARGIN), 2 * (width + MARGIN))
    x = bilinear(x, *_positions(matrix, (x.shape[2], x.shape[3]), size_out))
    return fir(x, taps=SYM6, before=-1, after=-1, down=2)


def _margins(matrix: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """How far (left, right, top, bottom) the mapped corners of a batch reach beyond the image, and the filter."""
    half = matrix.new_tensor([(width - 1) / 2, (height - 1) / 2])
    corners = matrix.new_tensor([[-1, 1, 1, -1], [-1, -1, 1, 1]]) * half[:, None]
    mapped = matrix[:, :2, :2] @ corners + matrix[:, :2, 2:]
    reach = torch.stack([-mapped, mapped], 1).amax((0, 3)) - half + MARGIN  # (low or high, axis)
    most = matrix.new_tensor([width - 1, height - 1])
    low, high = torch.minimum(reach.clamp(min=0), most).ceil().long().tolist()
    return low[0], high[0], low[1], high[1]
