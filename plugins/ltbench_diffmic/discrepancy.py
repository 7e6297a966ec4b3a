"""Maximum mean discrepancy of two batches of vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Scalar >= 0 of x (n, C) and y (m, C): means of k(x, x) + k(y, y) - 2 k(x, y), the diagonal included.

    Yang et al. 2023, equation 5.
    """
    return kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(a, b) = exp(-||a - b||^2 / C^2) of each pair, (n, m), the kernel of the release."""
    square = (x[:, None] - y[None]).square().sum(2)
    return torch.exp(-square / x.shape[1] ** 2)
