"""The noise predictor: an image embedding times the embedding of a noisy label and a prior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Encoder(nn.Sequential):
    """(B, c, h, w) -> (B, F): backbone, linear map, batch norm; once for every image, whatever the number of steps."""

    def __init__(self, backbone: nn.Module, features: int, width: int) -> None:
        super().__init__(backbone, nn.Linear(features, width), nn.BatchNorm1d(width))


class Tables(NamedTuple):
    """Evaluation form of the noise predictor at kept indices: per layer a scale (N, F) and a shift (F,)."""

    scales: tuple[Tensor, Tensor, Tensor]
    shifts: tuple[Tensor, Tensor, Tensor]


class Denoiser(nn.Module):
    """eps(e, y, p, t), (B, C): three layers softplus(BN(gamma[t] * (W u + b))), the image e enters after the first.

    `guided`: the input is [y, p], else y alone. steps: T; the tables of gamma have T + 1 rows drawn from U(0, 1).
    """

    def __init__(self, classes: int, width: int, steps: int, guided: bool) -> None:
        super().__init__()
        self.classes, self.guided = classes, guided
        self.first = nn.Linear(classes * (2 if guided else 1), width)
        self.second, self.third = nn.Linear(width, width), nn.Linear(width, width)
        self.last = nn.Linear(width, classes)
        self.gammas = nn.ModuleList(nn.Embedding(steps + 1, width) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(3))
        for gamma in self.gammas:
            nn.init.uniform_(gamma.weight)  # type: ignore[arg-type]

    def forward(self, e: Tensor, y: Tensor, prior: Tensor, t: Tensor) -> Tensor:
        """Noise (B, C) of e (B, F), y (B, C), prior (B, C) and t int64 (B,)."""
        h = torch.cat([y, prior], 1) if self.guided else y
        for k, layer in enumerate((self.first, self.second, self.third)):
            h = F.softplus(self.norms[k](self.gammas[k](t) * layer(h)))
            h = e * h if k == 0 else h
        noise: Tensor = self.last(h)
        return noise

    def tables(self, indices: Tensor) -> Tables:
        """gamma and batch norm of evaluation folded into one scale and one shift a layer, for `indices` (N,)."""
        scales, shifts = [], []
        for gamma, norm in zip(self.gammas, self.norms, strict=True):
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator, union-attr, arg-type]
            scales.append(gamma(indices) * factor)
            shifts.append(norm.bias - norm.running_mean * factor)  # type: ignore[operator]
        return Tables((scales[0], scales[1], scales[2]), (shifts[0], shifts[1], shifts[2]))

    def constant(self, prior: Tensor) -> Tensor:
        """The part of the first layer (B, F) that no step changes."""
        if not self.guided:
            return self.first.bias.expand(len(prior), -1)
        return F.linear(prior, self.first.weight[:, self.classes :], self.first.bias)

    def at(self, tables: Tables, i: int, e: Tensor, constant: Tensor, y: Tensor) -> Tensor:
        """`forward` in evaluation mode at the i-th kept index, from what `tables` and `constant` gave."""
        h = F.linear(y, self.first.weight[:, : self.classes]) + constant
        h = e * F.softplus(h * tables.scales[0][i] + tables.shifts[0])
        for k, layer in ((1, self.second), (2, self.third)):
            h = F.softplus(layer(h) * tables.scales[k][i] + tables.shifts[k])
        noise: Tensor = self.last(h)
        return noise
