"""Low-rank adaptation of the attention of a pre-trained network (Hu et al. 2022, LoRA)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


class LowRank(nn.Module):
    """A frozen linear layer plus up(down(x)), rank r; up starts at zero, so training starts at the frozen layer."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return self.base(x) + x @ self.down.T @ self.up.T


def adapt(net: Any, rank: int) -> int:
    """Freeze a network and put LowRank layers at its attention projections, in place; how many there are."""
    net.requires_grad_(False)
    wanted = [name for name, m in net.named_modules() if isinstance(m, nn.Linear) and name.endswith(PROJECTIONS)]
    for name in wanted:
        parent, _, last = name.rpartition(".")
        owner = net.get_submodule(parent)
        setattr(owner, last, LowRank(owner.get_submodule(last), rank))
    return len(wanted)
