"""PiDiNet (Su et al. 2021, Pixel Difference Networks for Efficient Edge Detection, ICCV), for weights from a file.

A pixel difference convolution is a convolution with a rearranged kernel, so every layer is a plain one here. Parameter
names and shapes are those of the authors' checkpoint with 60 channels, so that it loads with every key matching.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.data.tables import digest
from ltbench.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = ("central", "angular", "radial", "plain")  # of the layers 0, 1, 2, 3, 0, ...
CLOCKWISE = (3, 0, 1, 6, 4, 2, 7, 8, 5)  # each position's neighbour on the ring of a 3 x 3 kernel
INNER = ((1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2), (3, 3))  # the ring of 1 px in a 5 x 5 kernel
BATCH = 8


def difference_kernel(weight: Tensor, kind: str) -> Tensor:
    """The plain kernel (o, i, 3, 3), or (o, i, 5, 5) for "radial", that acts as a difference kernel (o, i, 3, 3).

    central: pixels minus the centre; angular: minus their neighbour on the ring; radial: the ring of 2 px minus that of
    1 px (section 3.1, figure 3).
    """
    if kind == "plain":
        return weight
    flat = weight.flatten(2)
    if kind == "angular":
        return (flat - flat[:, :, CLOCKWISE]).view_as(weight)
    if kind == "central":
        centre = torch.zeros_like(weight)
        centre[:, :, 1, 1] = flat.sum(2)
        return weight - centre
    wide = weight.new_zeros(*weight.shape[:2], 5, 5)
    for k, (y, x) in enumerate(INNER, 1):  # the kernel's first weight is unused
        wide[:, :, y, x] = -flat[:, :, k]
        wide[:, :, 2 * y - 2, 2 * x - 2] = flat[:, :, k]
    return wide


class DifferenceConv(nn.Module):
    """A 3 x 3 (radial: 5 x 5) convolution, same size, with the kernel of `difference_kernel`."""

    def __init__(self, kind: str, inputs: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        self.kind, self.groups = kind, groups
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // groups, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, i, h, w) -> (B, o, h, w)."""
        kernel = difference_kernel(self.weight, self.kind)
        return F.conv2d(x, kernel, padding=kernel.shape[2] // 2, groups=self.groups)


class Block(nn.Module):
    """Depthwise difference convolution, ReLU, 1 x 1 convolution and a shortcut; halves the map first if asked."""

    def __init__(self, kind: str, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        if halve:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.conv1 = DifferenceConv(kind, inputs, inputs, groups=inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, i, h, w) -> (B, o, h, w), or half of h and w."""
        x = F.max_pool2d(x, 2) if self.halve else x
        return self.conv2(F.relu(self.conv1(x))) + (self.shortcut(x) if self.halve else x)


class Dilation(nn.Module):
    """Compact dilation module: four dilated convolutions, added up."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        self.conv2_1, self.conv2_2, self.conv2_3, self.conv2_4 = (
            nn.Conv2d(outputs, outputs, 3, dilation=rate, padding=rate, bias=False) for rate in (5, 7, 9, 11)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, i, h, w) -> (B, o, h, w)."""
        x = self.conv1(F.relu(x))
        return self.conv2_1(x) + self.conv2_2(x) + self.conv2_3(x) + self.conv2_4(x)


class Attention(nn.Module):
    """Compact spatial attention: a map in [0, 1] that multiplies its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, h, w)."""
        return x * torch.sigmoid(self.conv2(self.conv1(F.relu(x))))


class Reduce(nn.Module):
    """A side output of one channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, 1, h, w)."""
        return self.conv(x)


class PiDiNet(nn.Module):
    """Edges (B, 1, h, w) in [0, 1] of normalised RGB images (B, 3, h, w), of at least 8 px."""

    def __init__(self, width: int = 60, dilation: int = 24) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width)
        self.init_block = DifferenceConv(KINDS[0], 3, width)
        before, layer = width, 1
        for stage, outputs in enumerate(widths, 1):
            for number in range(2 if stage == 1 else 1, 5):
                halve = stage > 1 and number == 1
                name = f"block{stage}_{number - 1 if stage == 1 else number}"
                setattr(self, name, Block(KINDS[layer % 4], before, outputs, halve))
                before, layer = outputs, layer + 1
        self.dilations = nn.ModuleList(Dilation(outputs, dilation) for outputs in widths)
        self.attentions = nn.ModuleList(Attention(dilation) for _ in widths)
        self.conv_reduces = nn.ModuleList(Reduce(dilation) for _ in widths)
        self.classifier = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 1, h, w)."""
        size, sides = x.shape[2:], []
        x = self.init_block(x)
        for stage in range(4):
            for number in range(1, 4 if stage == 0 else 5):
                x = getattr(self, f"block{stage + 1}_{number}")(x)
            side = self.conv_reduces[stage](self.attentions[stage](self.dilations[stage](x)))
            sides.append(F.interpolate(side, size, mode="bilinear", align_corners=False))
        return torch.sigmoid(self.classifier(torch.cat(sides, 1)))


def load_pidinet(path: str, device: torch.device) -> tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]:
    """Facts and function of an extractor with the weights in a file (.safetensors, or torch's, never unpickled).

    DataError where the file is missing, cannot be read or holds another network.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(
            f"no PiDiNet weights in {file}; get the authors' table5_pidinet.pth and set generator.edges_path, "
            "or use --set generator.edges=sobel"
        )
    net = PiDiNet()
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        net.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{file} does not hold PiDiNet with 60 channels: {reason}; get table5_pidinet.pth") from error
    net.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        x = (x.expand(-1, 3, -1, -1) - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
        return torch.cat([net(part.to(device))[:, 0].cpu() for part in x.split(BATCH)]).numpy()

    weights = digest(*(value.numpy() for value in net.cpu().state_dict().values()))
    net.to(device)
    return {"edges": "pidinet", "weights": weights}, run
