"""Layers of StyleGAN2: equalised learning rate, FIR resampling, modulated convolution, minibatch deviation.

Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, CVPR (arXiv 1912.04958), section 2 and
appendix B. Everything is plain torch and can be differentiated twice. Under autocast only the convolutions change
precision; the rest stays in float32.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import ContractError

TAPS = (1.0, 3.0, 3.0, 1.0)  # of the resampling filter, per axis
EPS = 1e-8


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2), which keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def rms_norm(x: Tensor) -> Tensor:
    """x (B, d) divided by the root of its mean square."""
    return x * (x.square().mean(1, keepdim=True) + EPS).rsqrt()


@lru_cache(maxsize=512)
def _fir_matrix(
    n: int,
    taps: tuple[float, ...],
    up: int,
    before: int,
    after: int,
    down: int,
    gain: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    padded = torch.zeros(before + n * up + after, n, dtype=torch.float64)
    sample, place = torch.arange(n), before + up * torch.arange(n)  # zeros between the samples and around
    kept = (place >= 0) & (place < len(padded))
    padded[place[kept], sample[kept]] = gain / sum(taps)
    windows = padded.unfold(0, len(taps), 1)
    return (windows @ torch.tensor(taps, dtype=torch.float64))[::down].to(device, dtype)


def fir(
    x: Tensor,
    *,
    taps: tuple[float, ...] = TAPS,
    up: int = 1,
    before: int,
    after: int,
    down: int = 1,
    gain: float = 1.0,
) -> Tensor:
    """Zero insertion, zero padding, correlation with normalised taps and decimation, per axis of x (B, C, H, W).

    gain counts once for each axis; negative padding crops. A linear map per axis, so it is two products with small
    banded matrices.
    """
    rows, columns = (
        _fir_matrix(n, taps, up, before, after, down, gain, torch.promote_types(x.dtype, torch.float32), x.device)
        for n in x.shape[2:]
    )
    with torch.autocast(x.device.type, enabled=False):
        return rows @ x.to(rows.dtype) @ columns.mT


def fir_up(x: Tensor) -> Tensor:
    """Twice the size: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return fir(x, up=2, before=2, after=1, gain=2.0)


def fir_down(x: Tensor) -> Tensor:
    """Half the size: (B, C, H, W) -> (B, C, H/2, W/2)."""
    return fir(x, before=1, after=1, down=2)


def conv_up(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution and doubling: transposed convolution of stride 2, then the filter with gain 4 and padding 1."""
    y = F.conv_transpose2d(x, weight.transpose(0, 1).flip(2, 3), stride=2)
    return fir(y, before=1, after=1, gain=2.0)


def conv_down(x: Tensor, weight: Tensor) -> Tensor:
    """The filter with padding 2, then a 3x3 convolution of stride 2: half the size."""
    return F.conv2d(fir(x, before=2, after=2), weight, stride=2)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolution of x (B, i, H, W) with weight (o, i, k, k) scaled per sample by style (B, i); section 2.2.

    The scales go to the activations instead of the weights, so it is one ordinary convolution. demodulate: divide each
    output channel by the norm of its scaled weights.
    """
    x = x * style[:, :, None, None]
    y = conv_up(x, weight) if up else F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        with torch.autocast(x.device.type, enabled=False):
            norm = style.square() @ weight.square().sum((2, 3)).T
            y = y * (norm + EPS).rsqrt()[:, :, None, None]
    return y


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """x (N, C, H, W) with one more channel, last: the mean deviation over a group of `group` strided samples.

    The group is cut down to N; ContractError where it does not divide N.
    """
    n = len(x)
    group = min(group, n)
    if n % group:
        raise ContractError(f"a batch of {n} cannot be split into groups of {group}; use a multiple of the group")
    grouped = x.reshape(group, n // group, *x.shape[1:])  # a group holds the samples i, i + N/G, ...
    variance = (grouped - grouped.mean(0)).square().mean(0)
    value = (variance + EPS).sqrt().mean((1, 2, 3)).repeat(group)
    return torch.cat([x, value.to(x.dtype)[:, None, None, None].expand(n, 1, *x.shape[2:])], 1)


class Linear(nn.Module):
    """Fully-connected layer with equalised learning rate: weights N(0, 1) / lr_mul, scaled at run time."""

    def __init__(self, inputs: int, outputs: int, *, lr_mul: float = 1.0, bias: float = 0.0, active: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_mul)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr_mul))
        self.lr_mul, self.gain, self.active = lr_mul, lr_mul / math.sqrt(inputs), active

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y = F.linear(x, self.weight * self.gain, self.bias * self.lr_mul)
        return activate(y) if self.active else y


class Conv(nn.Module):
    """k x k convolution of the discriminator with equalised learning rate; down: half the size, filtered first."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, down: bool = False, linear: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = None if linear else nn.Parameter(torch.zeros(outputs))
        self.gain, self.down, self.kernel = 1 / math.sqrt(inputs * kernel**2), down, kernel

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.gain
        if not self.down:
            y = F.conv2d(x, weight, padding=self.kernel // 2)
        else:
            y = conv_down(x, weight) if self.kernel == 3 else F.conv2d(fir_down(x), weight)
        return y if self.bias is None else activate(y + self.bias[:, None, None])
