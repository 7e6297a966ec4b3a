"""The strongest regions of a saliency map, their crops, and attention over crops (Shen et al. 2021, GMIC)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rescaled(saliency: Tensor, eps: float) -> Tensor:
    """Maps (B, C, h, w) brought to 0..1 each, a constant one to 0."""
    low, high = saliency.amin((2, 3), keepdim=True), saliency.amax((2, 3), keepdim=True)
    return (saliency - low) / (high - low + eps)


def regions(saliency: Tensor, window: tuple[int, int], count: int, eps: float) -> Tensor:
    """Corners int64 (B, K, 2) of the windows picked greedily from saliency (B, C, h, w), K <= count.

    The rescaled maps are summed; the window of the largest mean is taken and zeroed.
    """
    total = rescaled(saliency, eps).sum(1)
    rows, columns = (torch.arange(n, device=total.device) for n in total.shape[1:])
    corners = []
    places = (len(rows) - window[0] + 1, len(columns) - window[1] + 1)
    for _ in range(min(count, places[0] * places[1])):
        best = F.avg_pool2d(total[:, None], window, stride=1).flatten(1).argmax(1)
        top, left = best // places[1], best % places[1]
        corners.append(torch.stack([top, left], 1))
        across = (rows >= top[:, None]) & (rows < top[:, None] + window[0])
        along = (columns >= left[:, None]) & (columns < left[:, None] + window[1])
        total = total.masked_fill(across[:, :, None] & along[:, None, :], 0.0)
    return torch.stack(corners, 1)


def crops(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """(B, K, c, size, size) cut from images (B, c, h, w) at pixel corners (B, K, 2), all channels."""
    axis = torch.arange(size, device=images.device)
    y, x = (corners[:, :, k, None] + axis for k in (0, 1))
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    return images.permute(0, 2, 3, 1)[batch, y[:, :, :, None], x[:, :, None, :]].permute(0, 1, 4, 2, 3)


class GatedAttention(nn.Module):
    """a = softmax_k(w . [sigmoid(U h_k) * tanh(V h_k)]) of h (B, K, d); gives sum_k a_k h_k (B, d) and a (B, K)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.gate, self.value = (nn.Linear(features, width, bias=False) for _ in range(2))
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        score = self.score(torch.sigmoid(self.gate(h)) * torch.tanh(self.value(h)))[:, :, 0]
        weights = torch.softmax(score, 1)
        return (weights[:, :, None] * h).sum(1), weights
