"""A slow copy of a network that follows it: the momentum encoder."""

from __future__ import annotations

import copy

import torch
from torch import nn


def slow_twin(net: nn.Module) -> nn.Module:
    """A copy that no gradient reaches; `follow` moves it."""
    return copy.deepcopy(net).requires_grad_(False)


@torch.no_grad()
def follow(twin: nn.Module, net: nn.Module, momentum: float) -> None:
    """twin <- momentum * twin + (1 - momentum) * net, parameters only. He et al. 2020, equation 2."""
    for slow, fast in zip(twin.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)


@torch.no_grad()
def copy_buffers(twin: nn.Module, net: nn.Module) -> None:
    """Give the twin the buffers of the net, such as batch norm's statistics, for a twin that sees no data itself."""
    for slow, fast in zip(twin.buffers(), net.buffers(), strict=True):
        slow.copy_(fast)
