"""A classifier of noisy images that knows how noisy they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench_diffusion.schedules import STEPS
from ltbench_diffusion.unet import norm_groups


class TimedBlock(nn.Module):
    """Residual block with group norm, scaled and shifted by the embedding of t; the map may be halved first."""

    def __init__(self, width_in: int, width: int, time: int, *, halve: bool, dropout: float) -> None:
        super().__init__()
        self.halve = halve
        self.first, self.second = nn.Conv2d(width_in, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(norm_groups([w]), w) for w in (width_in, width)])
        self.time, self.dropout = nn.Linear(time, 2 * width), nn.Dropout(dropout)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, width_in, h, w), time (B, d) -> (B, width, h or h / 2, w or w / 2)."""
        if self.halve:
            x = F.avg_pool2d(x, 2)
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        y = self.first(F.silu(self.norms[0](x)))
        y = self.dropout(F.silu(self.norms[1](y) * (1 + scale) + shift))
        return self.skip(x) + self.second(y)


class NoisyClassifier(nn.Module):
    """Logits (B, C) of x_t (B, c, h, w) at t (B,): two residual blocks a width, then the mean over the map.

    After the encoder classifier of Dhariwal and Nichol 2021, without attention.
    """

    def __init__(self, channels: int, num_classes: int, widths: Sequence[int], *, dropout: float = 0.0) -> None:
        super().__init__()
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps

        time, before = 4 * widths[0], widths[0]
        self.encode: Any = Timesteps(widths[0], True, 0)
        self.embed: Any = TimestepEmbedding(widths[0], time)
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1)
        self.blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            self.blocks.append(TimedBlock(before, width, time, halve=level > 0, dropout=dropout))
            self.blocks.append(TimedBlock(width, width, time, halve=False, dropout=dropout))
            before = width
        self.norm = nn.GroupNorm(norm_groups([before]), before)
        self.head = nn.Linear(before, num_classes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, c, h, w), t (B,) -> logits (B, C), float32."""
        time = F.silu(self.embed(self.encode(t).to(self.head.weight.dtype)))
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, time)
        return self.head(F.silu(self.norm(x)).mean((2, 3))).float()


def noisy_cross_entropy(abar: Tensor) -> Any:
    """The objective (net, x0, labels) -> cross-entropy of x_t, with t uniform, of a schedule abar (T,)."""

    def objective(net: Any, x0: Tensor, labels: Tensor) -> Tensor:
        t = torch.randint(0, STEPS, (len(x0),), device=x0.device)
        level = abar.to(x0.device)[t].view(-1, 1, 1, 1)
        noisy = (level.sqrt() * x0 + (1 - level).sqrt() * torch.randn_like(x0)).float()
        return F.cross_entropy(net(noisy, t), labels)

    return objective
