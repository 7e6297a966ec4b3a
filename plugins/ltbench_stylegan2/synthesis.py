"""The generator network of StyleGAN2: mapping from latents and labels to styles, synthesis from styles to images."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

from ltbench_stylegan2.layers import Linear, activate, fir_up, modulated_conv, rms_norm

MAPPING_LR = 0.01  # learning-rate multiplier of the mapping networks
AVERAGE_DECAY = 0.995  # of the running mean of w
Noise = str | Callable[[int, int], Tensor]  # "random", "const", "none", or (layer, side) -> (B, 1, side, side)


def channels(side: int, base: int, most: int) -> int:
    """Feature channels of maps of `side` px: base / side, at most `most`, at least 8, a multiple of 8."""
    return max(8, min(base // side, most) // 8 * 8)


class Mapping(nn.Module):
    """z (B, z) and labels (B,) -> w (B, outputs); either part may be absent (z = 0, classes = None)."""

    average: Tensor

    def __init__(self, z: int, classes: int | None, outputs: int, layers: int) -> None:
        super().__init__()
        self.z, self.classes = z, classes
        self.embed = Linear(classes, outputs) if classes else None
        widths = [z + (outputs if classes else 0), *[outputs] * layers]
        self.layers = nn.ModuleList(Linear(i, o, lr_mul=MAPPING_LR, active=True) for i, o in pairwise(widths))
        if z:
            self.register_buffer("average", torch.zeros(outputs))

    def forward(self, z: Tensor | None, labels: Tensor | None, *, track: bool = True) -> Tensor:
        """w (B, outputs); in training mode `track` updates the running mean of w."""
        parts = [] if z is None else [rms_norm(z)]
        if self.embed is not None and self.classes and labels is not None:
            one_hot = torch.nn.functional.one_hot(labels, self.classes).to(self.embed.weight.dtype)
            parts.append(rms_norm(self.embed(one_hot)))
        w = torch.cat(parts, 1)
        for layer in self.layers:
            w = layer(w)
        if self.z and self.training and track:
            with torch.no_grad():
                self.average.lerp_(w.detach().mean(0).to(self.average.dtype), 1 - AVERAGE_DECAY)
        return w


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, activation; up: twice the size."""

    constant: Tensor

    def __init__(self, inputs: int, outputs: int, w: int, *, side: int, index: int, up: bool) -> None:
        super().__init__()
        self.style = Linear(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("constant", torch.randn(side, side))
        self.side, self.index, self.up = side, index, up

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        y = modulated_conv(x, self.weight, self.style(w), up=self.up)
        if noise != "none":
            y = y + self.strength * self._noise(y, noise)
        return activate(y + self.bias[:, None, None])

    def _noise(self, y: Tensor, noise: Noise) -> Tensor:
        if callable(noise):
            return noise(self.index, self.side)
        return self.constant if noise == "const" else torch.randn(len(y), 1, *y.shape[2:], device=y.device)


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation, and bias: features (B, i, H, W) -> (B, c, H, W)."""

    def __init__(self, inputs: int, image_channels: int, w: int) -> None:
        super().__init__()
        self.style = Linear(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        y = modulated_conv(x, self.weight, self.style(w) * self.gain, demodulate=False)
        return y + self.bias[:, None, None]


class Synthesis(nn.Module):
    """ws (B, num_ws, w) -> images (B, c, side, side), nominally in [-1, 1], not bounded.

    Block b works at 4 * 2^b px; its two convolutions take ws[2b-1] and ws[2b] (the first block has one and takes
    ws[0]), its image layer ws[2b+1], which is also that of the next block's first convolution.
    """

    def __init__(self, side: int, image_channels: int, w: int, base: int, most: int) -> None:
        super().__init__()
        sides = [2**i for i in range(2, int(math.log2(side)) + 1)]
        self.num_ws = 2 * len(sides)
        self.start = nn.Parameter(torch.randn(channels(4, base, most), 4, 4))
        self.ups, self.convs, self.images = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = len(self.start)
        for b, r in enumerate(sides):
            width = channels(r, base, most)
            if b:
                self.ups.append(StyledConv(before, width, w, side=r, index=2 * b - 1, up=True))
            self.convs.append(StyledConv(width, width, w, side=r, index=2 * b, up=False))
            self.images.append(ToImage(width, image_channels, w))
            before = width

    def forward(self, ws: Tensor, noise: Noise = "random", autocast: AbstractContextManager | None = None) -> Tensor:
        with autocast or nullcontext():
            x = self.convs[0](self.start.expand(len(ws), -1, -1, -1), ws[:, 0], noise)
            image = self.images[0](x, ws[:, 1])
            for b, up in enumerate(self.ups, 1):
                x = self.convs[b](up(x, ws[:, 2 * b - 1], noise), ws[:, 2 * b], noise)
                image = fir_up(image) + self.images[b](x, ws[:, 2 * b + 1])
        return image


class GeneratorNetwork(nn.Module):
    """Mapping and synthesis; classes None: unconditional."""

    def __init__(
        self,
        side: int,
        image_channels: int,
        classes: int | None,
        *,
        latent: int = 512,
        base: int = 16384,
        most: int = 512,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.mapping = Mapping(latent, classes, latent, layers)
        self.synthesis = Synthesis(side, image_channels, latent, base, most)

    def styles(self, z: Tensor, labels: Tensor | None, *, track: bool = True) -> Tensor:
        """ws (B, num_ws, w), the same w for every layer."""
        return self.mapping(z, labels, track=track)[:, None].expand(-1, self.synthesis.num_ws, -1)

    def mixed_styles(self, z: Tensor, labels: Tensor | None, probability: float) -> Tensor:
        """ws for training: with the probability, layers from a random cutoff on take a second z of the same label."""
        ws = self.styles(z, labels)
        if torch.rand([]) < probability:
            cutoff = int(torch.randint(1, self.synthesis.num_ws, []))
            other = self.styles(torch.randn_like(z), labels, track=False)
            ws = torch.cat([ws[:, :cutoff], other[:, cutoff:]], 1)
        return ws


def truncate(ws: Tensor, centre: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """ws (B, num_ws, w) moved towards the centre, (w,) or (B, w): centre + psi (w - centre) for the first `cutoff`."""
    centre = centre.expand(len(ws), -1)[:, None]
    moved = centre + psi * (ws - centre)
    return moved if cutoff is None else torch.cat([moved[:, :cutoff], ws[:, cutoff:]], 1)
