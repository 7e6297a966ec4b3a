"""Maximum mean discrepancy of two batches of vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Scalar >= 0 of x (n, C) and y (m, C): means of k(x, x) + k(y, y) - 2 k(x, y), the diagonal included.

    k(a, b) = exp(-||a - b||^2 / C^2), the kernel of the release. Yang et al. 2023, equation 5.
    """

    def mean(a: Tensor, b: Tensor) -> Tensor:
        square = (a[:, None] - b[None]).square().sum(2)
        return torch.exp(-square / a.shape[1] ** 2).mean()

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)
