"""A backbone cut where its map has the wanted number of pixels a cell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.models.nets import SMALL, build_backbone

LEAST_CELLS = 4  # of a side, for which the stride is halved where the network can


class Trunk(nn.Module):
    """(B, c, h, w) -> map (B, d, h', w') of `stride` px a cell; num_features is d."""

    def __init__(self, body: nn.Module, level: int | None, stride: int, features: int) -> None:
        super().__init__()
        self.body, self.level, self.stride, self.num_features = body, level, stride, features

    def forward(self, x: Tensor) -> Tensor:
        """The map of the chosen level; None is the whole network."""
        if self.level is None:
            found: Tensor = self.body.forward_features(x)  # type: ignore[operator]
            return found
        maps: list[Tensor] = self.body.forward_intermediates(  # type: ignore[operator]
            x, indices=[self.level], stop_early=True, intermediates_only=True
        )
        return maps[0]


def build_trunk(name: str, channels: int, size: int, stride: int, weights: str, path: str | None) -> Trunk:
    """A trunk with at most `stride` px a cell, fewer where the map would have less than 4 x 4 cells."""
    body: Any = build_backbone(name, channels, size, weights, path)
    levels = small_levels(body) if name in SMALL else timm_levels(body)
    wanted = min(stride, max(size // LEAST_CELLS, 1))
    fitting = [level for level in levels if level[0] <= wanted] or levels[:1]
    pixels, features, index = fitting[-1]
    level: int | None = index
    if name in SMALL:
        without_pools(body, pixels)
        level = None
    elif index == levels[-1][2]:
        level, features = None, int(body.num_features)
    else:
        body.prune_intermediate_layers(indices=[index], prune_head=True)
    trunk = Trunk(body, level, pixels, features)
    found = shape_of(trunk, channels, size)
    if len(found) != 4 or found[1] != features:
        raise UserError(
            f"diffmic needs a backbone with a convolutional map (B, d, h, w), {name!r} gives {tuple(found)}; "
            "use for example --set protocol.backbone=resnet18"
        )
    return trunk


def timm_levels(body: Any) -> list[tuple[int, int, int]]:
    """(pixels a cell, channels, index) of each stage of a timm network, from fine to coarse; the last of equals."""
    info = body.feature_info
    rows = info if isinstance(info, list) else list(info.info)
    by_stride = {int(row["reduction"]): (int(row["num_chs"]), i) for i, row in enumerate(rows)}
    return [(stride, *by_stride[stride]) for stride in sorted(by_stride)]


def small_levels(body: Any) -> list[tuple[int, int, int]]:
    """The strides that a small network has once pools are left out."""
    pools = sum(isinstance(module, nn.AvgPool2d) for module in body.body)
    strides = [2**k for k in range(pools + 1)] if pools else [4]
    return [(stride, int(body.num_features), 0) for stride in strides]


def without_pools(body: Any, stride: int) -> None:
    """Take the last pools out until a cell has `stride` px."""
    kept = 1
    for i, module in enumerate(body.body):
        if isinstance(module, nn.AvgPool2d):
            if kept < stride:
                kept *= 2
            else:
                body.body[i] = nn.Identity()


@torch.no_grad()
def shape_of(trunk: nn.Module, channels: int, size: int) -> torch.Size:
    """The shape of the map of one image of `size` px."""
    training = trunk.training
    trunk.eval()
    shape: torch.Size = trunk(torch.zeros(1, channels, size, size)).shape
    trunk.train(training)
    return shape


def full(x: Tensor) -> Tensor:
    """x in float32 where a network computed in less, else as it is."""
    return x.float() if x.itemsize < 4 else x
