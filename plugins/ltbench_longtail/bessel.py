"""log(I_v(x) / x^v), the normaliser of von Mises-Fisher distributions, for any order and argument, with gradient."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from numpy.polynomial import Polynomial
from torch import Tensor
from torch.autograd.function import once_differentiable

FLOOR, TERMS = 64, 9  # from order FLOOR on, TERMS terms of the expansion are exact to 1e-14


@cache
def _debye() -> list[Polynomial]:
    """u_0 .. u_8 of the uniform expansion, DLMF 10.41.9."""
    t, one = Polynomial([0, 1]), Polynomial([1])
    result = [one]
    for _ in range(TERMS - 1):
        u = result[-1]
        result.append(t**2 * (one - t**2) * u.deriv() / 2 + ((one - 5 * t**2) * u).integ() / 8)
    return result


def _expansion(order: float, x: Tensor) -> Tensor:
    """log(I_v(x) / x^v) for v >= FLOOR, x >= 0: DLMF 10.41.3 without the singularity at 0."""
    root = torch.hypot(torch.ones_like(x), x / order)
    t = 1 / root
    series = torch.zeros_like(x)
    for k, u in reversed(list(enumerate(_debye()))):
        polynomial = torch.zeros_like(x)
        for coefficient in u.coef[::-1]:
            polynomial = polynomial * t + float(coefficient)
        series = series + polynomial / float(order) ** k
    return order * (root - torch.log(order * (1 + root))) - 0.5 * torch.log(2 * math.pi * order * root) + series.log()


def log_normaliser(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """log(I_v(x) / x^v) and its slope I_{v+1}(x) / I_v(x) <= 1, float64, for v = order >= 0 and x >= 0.

    Below order FLOOR the ratios q_v = I_{v+1} / (x I_v) come down from there by q_{v-1} = 1 / (2v + x^2 q_v), the
    stable direction.
    """
    x = x.double()
    top = order + max(0, math.ceil(FLOOR - order))
    value = _expansion(top, x)
    q = torch.exp(_expansion(top + 1, x) - value)
    while top > order:
        q = 1 / (2 * top + x * x * q)
        value = value - q.log()
        top -= 1
    return value, (x * q).clamp(max=1)


class _LogNormaliser(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: float) -> Tensor:
        value, slope = log_normaliser(order, x)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


def log_bessel(x: Tensor, dim: int) -> Tensor:
    """log B(x) = log I_{A/2-1}(x) - (A/2 - 1) log x for A = dim, float64, differentiable in float64 x >= 0."""
    return _LogNormaliser.apply(x, dim / 2 - 1)
