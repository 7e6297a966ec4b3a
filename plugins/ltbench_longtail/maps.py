"""The last convolutional map of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltbench.errors import UserError


def last_map(backbone: nn.Module, x: Tensor) -> Tensor:
    """(B, c, h, w) -> the map (B, d, h', w'); `forward_head(map, pre_logits=True)` of the backbone pools it."""
    return backbone.forward_features(x)  # type: ignore[operator]


def map_shape(backbone: nn.Module, channels: int, size: int, method: str, name: str) -> tuple[int, int, int]:
    """(d, h', w') for images of `size` px; UserError where `backbone` yields no convolutional map, as a ViT does."""
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        found = last_map(backbone, torch.zeros(1, channels, size, size))
    backbone.train(training)
    if found.ndim != 4 or found.shape[1] != backbone.num_features:
        raise UserError(
            f"{method} needs a backbone with a convolutional map (B, d, h, w), {name!r} gives {tuple(found.shape)}; "
            "use for example --set protocol.backbone=resnet18"
        )
    _, width, rows, columns = found.shape
    return width, rows, columns
