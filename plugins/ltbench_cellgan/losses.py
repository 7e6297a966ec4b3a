"""Hinge losses, R1, reconstruction and augmentation of CellGAN (Shen et al. 2023, and its public code)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ltbench_cellgan.networks import CellDiscriminator


def hinge(logits: Tensor, *, real: bool) -> Tensor:
    """Discriminator loss, the mean of max(0, 1 -+ logit)."""
    return F.relu(1 - logits if real else 1 + logits).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared norm (B,) of the gradient of the SUM of patch logits (B, H, W) with respect to images (B, ...)."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def reconstruction(
    d: CellDiscriminator, x: Tensor, last: Tensor, penultimate: Tensor, *, misaligned: bool = False
) -> Tensor:
    """L1 of the image at half size from the last map, and of a crop of half its side from the same crop of features.

    The crop is one for the batch. misaligned: its place in the image is any pixel but the last ones, that in the
    features the next lower whole one, as the public code has it; else both agree.
    """
    half, last_side = d.size // 2, d.last
    loss = F.l1_loss(d.whole_decoder(last), F.interpolate(x, size=(half, half), mode="nearest"))
    if d.crop_decoder is None:
        return loss
    stride = d.size // (2 * last_side)
    if misaligned:
        offsets = torch.randint(0, half, (2,))
        places = offsets // stride
    else:
        places = torch.randint(0, last_side + 1, (2,))
        offsets = places * stride
    (top, left), (row, column) = offsets.tolist(), places.tolist()
    crop = x[..., top : top + half, left : left + half]
    features = penultimate[..., row : row + last_side, column : column + last_side]
    return loss + F.l1_loss(d.crop_decoder(features), crop)


def augmented(x: Tensor) -> Tensor:
    """DiffAugment (Zhao et al. 2020) with colour and translation, each image its own, always on: x (B, c, H, W)."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(len(x), 1, 1, 1, dtype=x.dtype, device=x.device) * (high - low) + low

    x = x + uniform(-0.5, 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * uniform(0, 2) + grey
    level = x.mean((1, 2, 3), keepdim=True)
    x = (x - level) * uniform(0.5, 1.5) + level
    most = int(x.shape[-1] / 8 + 0.5)
    return shifted(x, torch.randint(-most, most + 1, (len(x), 2), device=x.device))


def shifted(x: Tensor, offsets: Tensor) -> Tensor:
    """x (B, c, H, W) moved down and right by whole pixels (B, 2), zero where nothing was."""
    b, _, height, width = x.shape
    rows = torch.arange(height, device=x.device) - offsets[:, :1]
    columns = torch.arange(width, device=x.device) - offsets[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    images = torch.arange(b, device=x.device)[:, None, None]
    picked = x.permute(0, 2, 3, 1)[images, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return (picked * inside[..., None]).permute(0, 3, 1, 2)
