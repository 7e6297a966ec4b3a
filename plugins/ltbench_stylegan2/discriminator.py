"""The discriminator of StyleGAN2: residual blocks, minibatch deviation, and the projection of a label embedding."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from ltbench_stylegan2.layers import Conv, Linear, minibatch_deviation
from ltbench_stylegan2.synthesis import Mapping, channels


class Block(nn.Module):
    """Two convolutions, the second to half the size; residual: plus a filtered 1x1 skip, the sum over sqrt(2)."""

    def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
        super().__init__()
        self.first = Conv(inputs, inputs, 3)
        self.second = Conv(inputs, outputs, 3, down=True)
        self.skip = Conv(inputs, outputs, 1, down=True, linear=True) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return y if self.skip is None else (y + self.skip(x)) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Images (B, c, side, side) and labels (B,) -> logits (B,); classes None: unconditional.

    The logit of a label is <features, embedding> / sqrt(width); there is no further unconditional term. residual False
    gives the plain network for small images.
    """

    def __init__(
        self,
        side: int,
        image_channels: int,
        classes: int | None,
        *,
        base: int = 16384,
        most: int = 512,
        layers: int = 8,
        group: int = 4,
        residual: bool = True,
    ) -> None:
        super().__init__()
        sides = [2**i for i in range(int(math.log2(side)), 2, -1)]
        last = channels(4, base, most)
        self.from_image = Conv(image_channels, channels(side, base, most), 1)
        self.blocks = nn.Sequential(
            *(Block(channels(r, base, most), channels(r // 2, base, most), residual) for r in sides)
        )
        self.conv = Conv(last + 1, last, 3)
        self.dense = Linear(last * 16, last, active=True)
        self.head = Linear(last, last if classes else 1)
        self.mapping = Mapping(0, classes, last, layers) if classes else None
        self.group = group

    def forward(self, x: Tensor, labels: Tensor | None, autocast: AbstractContextManager | None = None) -> Tensor:
        with autocast or nullcontext():
            x = self.blocks(self.from_image(x))
        x = minibatch_deviation(x.to(self.head.weight.dtype), self.group)
        features = self.head(self.dense(self.conv(x).flatten(1)))
        if self.mapping is None:
            return features[:, 0]
        return project(features, self.mapping(None, labels))


def project(features: Tensor, embedding: Tensor) -> Tensor:
    """Inner products over sqrt(d) of features (B, d) and embeddings (B, d)."""
    return (features * embedding).sum(1) / math.sqrt(features.shape[1])
