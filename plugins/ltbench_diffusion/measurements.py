"""How uncertain a classifier is about images, and the direction in which that grows (Luo et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MEASURES = ("entropy", "margin", "least-confidence", "classifier")


def uncertainty(logits: Tensor, labels: Tensor, measure: str) -> Tensor:
    """What guidance ascends, (B,), from logits (B, C): "entropy" of p; "margin" p_(2) - p_(1); "least-confidence"
    - max p; or "classifier" log p_y, the usual classifier guidance.
    """
    log_p = logits.log_softmax(1)
    if measure == "classifier":
        return log_p.gather(1, labels[:, None])[:, 0]
    p = log_p.exp()
    if measure == "entropy":
        return -(p * log_p).sum(1)
    if measure == "margin":
        first, second = p.topk(2, 1).values.unbind(1)
        return second - first
    return -p.amax(1)


def ascent(logits_of: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, measure: str) -> Tensor:
    """Gradient (B, ...) of every sample's uncertainty at x (B, ...), zero where it is not finite.

    logits_of must treat samples apart from each other (no batch normalisation in training mode).
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(uncertainty(logits_of(point), labels, measure).sum(), point)
    sound = torch.isfinite(g).flatten(1).all(1).view(-1, *[1] * (g.ndim - 1))
    return torch.where(sound, g, torch.zeros_like(g))


def guided(x0: Tensor, eps: Tensor, abar: float, scale: float, g: Tensor) -> tuple[Tensor, Tensor]:
    """(x0, eps) after eps' = eps - sqrt(1 - abar) scale g, at the same x_t (Dhariwal and Nichol 2021, algorithm 2)."""
    noise = (1 - abar) ** 0.5
    return x0 + (1 - abar) / abar**0.5 * scale * g, eps - noise * scale * g
