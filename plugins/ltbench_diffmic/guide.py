"""The dual guide of DiffMIC: a global prediction from a saliency map and a local one from its strongest places."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltbench.models.regions import GatedAttention, crops, regions
from ltbench_diffmic.trunk import Trunk, full

EPS = 1e-8  # added to the range of a saliency map, so that a flat one becomes 0


class Logits(NamedTuple):
    """Logits (B, C) of the whole image, of the crops, and their mean."""

    fused: Tensor
    globally: Tensor
    locally: Tensor


class DualGuide(nn.Module):
    """Saliency by a 1 x 1 convolution of the map, greedy regions, attention over crops. Yang et al. 2023, section 2.2.

    No gradient reaches the choice of the places. channels: "all" of a crop, or "first", which repeats its first one as
    the release does.
    """

    def __init__(
        self, trunk: Trunk, local: nn.Module, features: int, classes: int, crop: int, rois: int, channels: str
    ):
        super().__init__()
        self.trunk, self.local, self.crop, self.rois, self.channels = trunk, local, crop, rois, channels
        self.saliency = nn.Conv2d(trunk.num_features, classes, 1, bias=False)
        self.attention = GatedAttention(features, 128)
        self.head = nn.Linear(features, classes, bias=False)

    def forward(self, x: Tensor) -> Logits:
        """Logits for normalised images (B, c, s, s)."""
        maps = full(self.saliency(self.trunk(x)))
        source = x if self.channels == "all" else x[:, :1].expand_as(x)
        parts = crops(source, corners(maps.detach(), x.shape[-1], self.crop, self.rois), self.crop)
        found = full(self.local(parts.flatten(0, 1))).unflatten(0, parts.shape[:2])
        pooled, _ = self.attention(found)
        globally, locally = maps.mean((2, 3)), self.head(pooled)
        return Logits((globally + locally) / 2, globally, locally)


def corners(maps: Tensor, size: int, crop: int, count: int) -> Tensor:
    """Pixel corners int64 (B, K, 2) of crops from maps (B, C, h, w) of images of `size` px, moved inside the image."""
    shape = torch.tensor(maps.shape[2:], device=maps.device)
    cells = regions(maps, window(maps.shape[2:], size, crop), count, EPS)
    return (cells / shape * size).round().long().clamp(0, size - crop)


def window(shape: torch.Size, size: int, crop: int) -> tuple[int, int]:
    """Cells that a crop covers, at least one a side."""
    rows, columns = (min(max(round(crop * n / size), 1), n) for n in shape)
    return rows, columns


def places(shape: torch.Size, size: int, crop: int) -> int:
    """Places of a crop in a map (h, w)."""
    rows, columns = window(shape, size, crop)
    return (shape[0] - rows + 1) * (shape[1] - columns + 1)


def priors(logits: Logits, fusion: str) -> Logits:
    """Probabilities of the three: fused by the mean of logits ("mean_logit", the release) or of probabilities."""
    return Logits(*(found.exp() for found in log_priors(logits, fusion)))


def log_priors(logits: Logits, fusion: str) -> Logits:
    """The logarithms of `priors`, with a finite gradient however sure they are."""
    g, s = logits.globally.log_softmax(1), logits.locally.log_softmax(1)
    mean = logits.fused.log_softmax(1) if fusion == "mean_logit" else torch.logaddexp(g, s) - math.log(2)
    return Logits(mean, g, s)
