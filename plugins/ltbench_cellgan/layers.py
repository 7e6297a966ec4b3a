"""Layers of CellGAN: spectral norm, adaptive instance norm, skip-layer global context (Shen et al. 2023, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

SN_EPS = 1e-4
START_GAIN = 0.02  # of the Xavier initialisation
SETTLE = 20  # power iterations after weights were replaced


def normed(layer: nn.Module) -> nn.Module:
    """The layer (linear or convolution) with Xavier-normal weights, zero bias and spectral normalisation."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    nn.init.xavier_normal_(weight, gain=START_GAIN)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    return parametrizations.spectral_norm(layer, eps=SN_EPS)


def plain(layer: nn.Linear) -> nn.Module:
    """The layer with Xavier-normal weights that keep the variance through a leaky ReLU, and zero bias."""
    nn.init.xavier_normal_(layer.weight, gain=nn.init.calculate_gain("leaky_relu", 0.2))
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def rescale(network: nn.Module, gain: float) -> None:
    """Give fresh spectrally normalised weights another Xavier gain: outputs stay, Adam's relative steps change."""
    for name, raw in network.named_parameters():
        if name.endswith("parametrizations.weight.original"):
            raw.mul_(gain / START_GAIN)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Spectrally normalised convolution without bias, padded to keep the size at stride 1."""
    return normed(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))


@torch.no_grad()
def settle(network: nn.Module, iterations: int = SETTLE) -> None:
    """Run power iterations, so that the singular vectors fit weights that came from elsewhere; ends in eval mode."""
    network.train()
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            for _ in range(iterations):
                _ = module.weight  # each access in training mode is one iteration
    network.eval()


def adaptive_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Instance norm of x (B, C, H, W) with (1 + gamma) as gain and beta as offset, both (B, C)."""
    y = F.instance_norm(x, eps=1e-5)
    return (1 + gamma[:, :, None, None]) * y + beta[:, :, None, None]


class UpBlock(nn.Module):
    """Nearest doubling, class-conditional normalisation, leaky ReLU, 3x3 convolution.

    class_norm: spectral norm of the layer that makes gains and offsets of the class code.
    """

    def __init__(self, inputs: int, outputs: int, code: int, *, class_norm: bool = True) -> None:
        super().__init__()
        self.scale = (normed if class_norm else plain)(nn.Linear(code, 2 * inputs))
        self.conv = conv(inputs, outputs, 3)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        gamma, beta = self.scale(code).chunk(2, 1)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.conv(F.leaky_relu(adaptive_norm(x, gamma, beta), 0.2))


class GlobalContext(nn.Module):
    """Skip-layer global context: a small map, pooled by attention, is added to every pixel of a big one."""

    def __init__(self, small: int, big: int) -> None:
        super().__init__()
        self.attention = conv(small, 1, 1)
        hidden = max(1, big // 4)
        self.transform = nn.Sequential(conv(small, hidden, 1), nn.LeakyReLU(0.2), conv(hidden, big, 1))

    def forward(self, small: Tensor, big: Tensor) -> Tensor:
        return big + self.transform(pooled(small, self.attention(small)))


def pooled(x: Tensor, logits: Tensor) -> Tensor:
    """Mean (B, C, 1, 1) of x (B, C, H, W) over pixels, weighted by the softmax of logits (B, 1, H, W)."""
    weights = logits.flatten(2).softmax(2)
    return (x.flatten(2) * weights).sum(2)[:, :, None, None]
