"""A slow twin moves towards its network, without gradient."""

from __future__ import annotations

import torch
from torch import nn

from ltbench.models.twins import follow, slow_twin


def test_a_twin_follows_slowly_without_gradient() -> None:
    net = nn.Linear(2, 2)
    twin = slow_twin(net)
    with torch.no_grad():
        net.weight += 1
    before = twin.weight.clone()
    follow(twin, net, 0.9)
    assert torch.allclose(twin.weight, before + 0.1) and not twin.weight.requires_grad
