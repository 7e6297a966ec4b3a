"""Objectives, regularisers and averages of StyleGAN2 training (arXiv 1912.04958, section 3 and appendix B)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating loss of logits (B,) of generated images, mean."""
    return softplus(-fake).mean()


def discriminator_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Logistic loss of logits (B,), mean."""
    return softplus(-logits if real else logits).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared norm (B,) of the gradient of the logits (B,) with respect to real images (B, ...); Mescheder 2018."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def path_lengths(images: Tensor, ws: Tensor, direction: Tensor) -> Tensor:
    """Root mean square over layers of |J^T y| (B,), J the Jacobian of images (B, ...) in ws (B, layers, w)."""
    (gradient,) = torch.autograd.grad((images * direction).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


class PathLength:
    """Penalty on the deviation of path lengths from their running mean (decay 0.99)."""

    def __init__(self, weight: float = 2.0, rate: float = 0.01) -> None:
        self.weight, self.rate = weight, rate
        self.mean = torch.zeros([])

    def penalty(self, lengths: Tensor) -> Tensor:
        """Mean penalty of lengths (B,), against the mean that they already entered."""
        mean = self.mean.to(lengths).lerp(lengths.mean(), self.rate)
        self.mean = mean.detach()
        return self.weight * (lengths - mean).square().mean()


def lazy_adam(parameters: Iterable[nn.Parameter], lr: float, interval: int | None) -> torch.optim.Adam:
    """Adam with betas (0, 0.99), corrected for a regulariser that takes a step of its own every `interval` steps."""
    share = 1.0 if interval is None else interval / (interval + 1)
    betas = (0.0, 0.99**share)
    return torch.optim.Adam(parameters, lr=lr * share, betas=betas, eps=1e-8, fused=True)


def ema_beta(batch: int, images: float, ramp: float | None = None, seen: int = 0) -> float:
    """Decay of the average with a half-life of `images`; ramp: at most this share of the images seen so far."""
    horizon = images if ramp is None else min(images, ramp * seen)
    return 0.0 if horizon <= 0 else float(0.5 ** (batch / horizon))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, beta: float) -> None:
    """average <- beta average + (1 - beta) network for parameters; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - beta)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def finite_step(optimizer: Any, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """One optimiser step on a loss; nan gradients count as 0, infinite ones as 1e5."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for parameter in parameters:
        if parameter.grad is not None:
            torch.nan_to_num_(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5)
    optimizer.step()
