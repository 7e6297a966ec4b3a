"""A perceptual distance of images: LPIPS with the SqueezeNet backbone, weights from files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ltbench.errors import DataError
from ltbench.results.files import sha256

BACKBONE = "squeezenet1_1_imagenet.safetensors"  # keys of torchvision's squeezenet1_1
HEADS = "lpips_v0.1_linear_heads.safetensors"  # keys squeeze.linI.model.1.weight
SLICES = ((0, 2), (2, 5), (5, 8), (8, 10), (10, 11), (11, 12), (12, 13))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST = 17  # px: below, the deepest maps of the backbone are empty


class Perceptual(nn.Module):
    """LPIPS-like distance of images, Zhang et al. 2018, equation 1: squared differences of unit-length features.

    The features of seven layers are weighted per channel by learned heads and averaged over the map.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_1

        self.features = squeezenet1_1(weights=None).features
        widths = (64, 128, 256, 384, 384, 512, 512)
        self.heads = nn.ParameterList([nn.Parameter(torch.ones(1, width, 1, 1) / width) for width in widths])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (B,) of images a, b (B, 1 or 3, h, w) in [-1, 1]."""
        total = torch.zeros(len(a), dtype=a.dtype, device=a.device)
        a, b = self._normalised(a), self._normalised(b)
        for (first, last), head in zip(SLICES, self.heads, strict=True):
            layers = self.features[first:last]
            a, b = layers(a), layers(b)
            total = total + ((_unit(a) - _unit(b)) ** 2 * head).sum(1).mean((1, 2))
        return total

    def _normalised(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return ((x + 1) / 2 - self.mean) / self.std


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _check_present(folder: str | Path) -> None:
    for name in (BACKBONE, HEADS):
        if not (Path(folder) / name).is_file():
            raise DataError(
                f"the perceptual loss needs {BACKBONE} and {HEADS}; {name} is not in {folder}; "
                "go without it: --set generator.perceptual_path=none"
            )


def perceptual_content(folder: str | Path) -> str:
    """Hashes of the weights in `folder`, which identify them wherever they lie; DataError where a file is missing."""
    _check_present(folder)
    return "+".join(sha256(Path(folder) / name) for name in (BACKBONE, HEADS))


def load_perceptual(folder: str | Path) -> Perceptual:
    """The distance with weights from `folder`; DataError where a file is missing or does not fit."""
    from safetensors.torch import load_file

    _check_present(folder)
    net = Perceptual()
    try:
        backbone = {k.removeprefix("features."): v for k, v in load_file(Path(folder) / BACKBONE).items()}
        net.features.load_state_dict({k: v.float() for k, v in backbone.items() if "classifier" not in k})
        heads = load_file(Path(folder) / HEADS)
        for i, head in enumerate(net.heads):
            head.copy_(heads[f"squeeze.lin{i}.model.1.weight"].float())
    except (RuntimeError, KeyError, OSError) as error:
        raise DataError(f"the weights in {folder} do not fit the perceptual loss: {str(error)[:200]}") from error
    return net
