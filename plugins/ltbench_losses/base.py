"""What most losses share: checked options and batches, the mean over samples, numbers per class on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ltbench.errors import ContractError
from ltbench.interfaces import Loss


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float32 in place of the half precisions."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def checked(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (B, C) in float32 at least; ContractError for targets that are no class (seen on the CPU only)."""
    if targets.device.type == "cpu" and len(targets):
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= logits.shape[1]:
            wrong = low if low < 0 else high
            raise ContractError(f"targets must lie in 0..{logits.shape[1] - 1}, the classes of the logits; got {wrong}")
    return logits.to(at_least_float32(logits.dtype))


class ClassVector:
    """Numbers per class (C,), moved once to the device and dtype (float32 at least) of the logits."""

    def __init__(self, values: Any, what: str) -> None:
        self.values, self.what = torch.as_tensor(values, dtype=torch.float64), what
        self.moved: dict[Any, Tensor] = {}

    def like(self, logits: Tensor) -> Tensor:
        """The numbers as a tensor that fits logits (B, C), or ContractError where C differs."""
        if len(self.values) != logits.shape[1]:
            raise ContractError(f"{self.what}: {len(self.values)} values for logits of {logits.shape[1]} classes")
        key = logits.device, at_least_float32(logits.dtype)
        if key not in self.moved:
            self.moved[key] = self.values.to(key[1]).to(key[0])
        return self.moved[key]


class MeanLoss(Loss):
    """A loss that is the mean over the batch of its per-sample form."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.per_sample(logits, targets).mean()
