"""Generator and discriminator of CellGAN for 8 to 256 px (Shen et al. 2023, section 2, and its public code)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench_cellgan.layers import GlobalContext, UpBlock, conv, normed, plain

CODE = 128  # width of z and of the class code
G_WIDTHS: Mapping[int, int] = {4: 16, 8: 16, 16: 8, 32: 8, 64: 4, 128: 2, 256: 1}  # times the base width
D_WIDTHS: Mapping[int, int] = {256: 1, 128: 2, 64: 4, 32: 8, 16: 8, 8: 16, 4: 16}
DECODER = (4, 2, 2, 1)  # times the base width, the last ones where fewer doublings are needed


def context_pairs(size: int) -> list[tuple[int, int]]:
    """(small, big) maps in px joined by global context: R/32 to R/4, R/16 to R/2 and R/8 to R, none below 4 px."""
    pairs = (
        (max(4, size // 32), max(4, size // 4)),
        (max(4, size // 16), max(4, size // 2)),
        (max(4, size // 8), size),
    )
    return [pair for i, pair in enumerate(pairs) if pair[0] < pair[1] and pair not in pairs[:i]]


def one_hot(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """Labels (B,) as (B, classes) of the other tensor's type; the label -1 is all zeros."""
    return F.one_hot(labels + 1, classes + 1)[:, 1:].to(like.dtype)


class CellGenerator(nn.Module):
    """z (B, 128) and labels (B,) -> images (B, c, size, size) in [-1, 1].

    z enters at 4x4 only, the class through the normalisation of every block; there is no other noise. class_norm:
    spectral norm on the way of the class too, which bounds the norm of all gains and offsets of a block together.
    """

    def __init__(
        self,
        size: int,
        image_channels: int,
        classes: int,
        *,
        width: int = 32,
        context: bool = True,
        class_norm: bool = True,
    ) -> None:
        super().__init__()
        self.classes = classes
        sides = [2**i for i in range(2, int(math.log2(size)) + 1)]
        channels = {side: G_WIDTHS[side] * width for side in sides}
        mapping: list[nn.Module] = []
        for i in range(4):
            layer = nn.Linear(CODE if i else classes, CODE)
            mapping += [normed(layer) if class_norm else plain(layer), nn.LeakyReLU(0.2)]
        self.mapping = nn.Sequential(*mapping)
        self.start = normed(nn.ConvTranspose2d(CODE, channels[4], 4, bias=False))
        self.blocks = nn.ModuleDict(
            {str(side): UpBlock(channels[side // 2], channels[side], CODE, class_norm=class_norm) for side in sides[1:]}
        )
        self.contexts = nn.ModuleDict(
            {f"{a}-{b}": GlobalContext(channels[a], channels[b]) for a, b in context_pairs(size) if context}
        )
        self.image = conv(channels[size], image_channels, 3)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        code = self.mapping(one_hot(labels, self.classes, z))
        x = self.start(z[:, :, None, None])
        maps = {4: x}
        for name, block in self.blocks.items():
            side = int(name)
            x = block(x, code)
            for small in maps:
                if f"{small}-{side}" in self.contexts:
                    x = self.contexts[f"{small}-{side}"](maps[small], x)
            maps[side] = x
        return torch.tanh(self.image(x))


class DownBlock(nn.Module):
    """Half the size: two convolutions beside a pooled 1x1 shortcut; both start from the activated input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = conv(inputs, outputs, 3, stride=2), conv(outputs, outputs, 3)
        self.shortcut = conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The new map, and the activated input."""
        x = F.leaky_relu(x, 0.2)
        main = self.second(F.leaky_relu(self.first(x), 0.2))
        return main + self.shortcut(F.avg_pool2d(x, 2)), x


class Decoder(nn.Module):
    """Features (B, i, s, s) -> an image (B, c, side, side) in [-1, 1], from a start of `start` px."""

    def __init__(self, inputs: int, image_channels: int, width: int, start: int, side: int) -> None:
        super().__init__()
        self.start, doublings = start, int(math.log2(side // start))
        layers: list[nn.Module] = []
        for factor in DECODER[len(DECODER) - doublings :]:
            layers += [nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2), conv(inputs, factor * width, 3)]
            inputs = factor * width
        self.layers = nn.Sequential(*layers, conv(inputs, image_channels, 3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(F.adaptive_avg_pool2d(x, self.start))


class CellDiscriminator(nn.Module):
    """Images (B, c, size, size) and labels (B,) -> patch logits (B, last, last), and maps for the reconstruction.

    last: px of the last map, 8 from 64 px images on, else 4. penultimate: the activated map of twice that size.
    """

    def __init__(self, size: int, image_channels: int, classes: int, *, width: int = 32) -> None:
        super().__init__()
        self.size, self.classes, self.last = size, classes, 8 if size >= 64 else 4
        sides = [2**i for i in range(int(math.log2(size)), int(math.log2(self.last)) - 1, -1)]
        channels = {side: D_WIDTHS[side] * width for side in sides}
        self.from_image = conv(image_channels, channels[size], 3)
        self.blocks = nn.ModuleList(DownBlock(channels[a], channels[a // 2]) for a in sides[:-1])
        self.head = conv(channels[self.last], 1, 1)
        self.embed = normed(nn.Linear(classes, channels[self.last], bias=False))
        half, cropped = size // 2, channels[2 * self.last]
        self.crop_decoder = Decoder(cropped, image_channels, width, self.last, half) if size > 8 else None
        self.whole_decoder = Decoder(channels[self.last], image_channels, width, self.last, half)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last map (B, C, last, last) and the penultimate one (B, C', 2 last, 2 last)."""
        x = before = self.from_image(x)
        for block in self.blocks:
            x, before = block(x)
        return x, before

    def logits(self, last: Tensor, labels: Tensor) -> Tensor:
        """Patch logits (B, last, last) of the last map: a linear head plus the projection on the class."""
        return patch_logits(self.head(last), last, self.embed(one_hot(labels, self.classes, last)))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.logits(self.features(x)[0], labels)


def patch_logits(head: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
    """(B, H, W): head (B, 1, H, W) plus the inner product of features (B, C, H, W) and embedding (B, C)."""
    return head[:, 0] + (features * embedding[:, :, None, None]).sum(1)
