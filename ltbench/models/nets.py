"""Backbones: small networks for small images, timm for everything else, and the two kinds of last layer."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError


class CosineHead(nn.Module):
    """`scale` times the cosines between features and class vectors, no bias (Cao et al. 2019, LDAM: scale 1)."""

    def __init__(self, features: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the class vectors anew."""
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight.uniform_(-1, 1), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, d) -> (B, C)."""
        return self.scale * F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _smooth(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(inplace=True)
    )


class _Pooled(nn.Module):
    """A convolutional `body` and mean pooling, in the two steps that timm's networks offer too."""

    body: nn.Module

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> the last map (B, d, h', w')."""
        return self.body(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, d, h', w') -> (B, d)."""
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, d)."""
        return self.forward_head(self.forward_features(x))


class SmallCNN(_Pooled):
    """Three convolutions of 32, 64 and 128 channels, halving twice, then mean pooling; for images of 8 px and up.

    Group norm, SiLU and mean pooling: the gradient of log p by the image then leads to images that other networks
    recognise, which that of batch norm, ReLU and max pooling does far less (benchmarks/guidance_digits.py).
    """

    num_features = 128

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _smooth(in_chans, 32), nn.AvgPool2d(2), _smooth(32, 64), nn.AvgPool2d(2), _smooth(64, 128)
        )


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.skip: nn.Module = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.skip(x))


class SmallResNet(_Pooled):
    """Three residual blocks of 24, 48 and 96 channels; the judge where SmallCNN is the backbone."""

    num_features = 96

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Residual(in_chans, 24, 1), _Residual(24, 48, 2), _Residual(48, 96, 2))


SMALL = {"small_cnn": SmallCNN, "small_resnet": SmallResNet}


def build_backbone(name: str, in_chans: int, image_size: int, weights: str, path: str | None) -> nn.Module:
    """A network (B, c, h, w) -> (B, num_features); weights "none", "timm" (downloads) or a file at `path`.

    Raises UserError for an unknown name, weights that cannot be had, and images whose size is none for the network.
    """
    if name in SMALL:
        if weights != "none":
            raise UserError(f"backbone {name!r} has no pre-trained weights; use --set weights=none")
        return SMALL[name](in_chans)
    import timm

    options: dict[str, Any] = {"num_classes": 0, "in_chans": in_chans}
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3) or ["resnet18", "resnet50"]
        raise UserError(
            f"unknown backbone {name!r}; timm has for example {', '.join(close)}: --set protocol.backbone=NAME"
        )
    if name.startswith(("vit_", "swin_")):
        options["img_size"] = image_size
    if weights == "timm":
        try:
            model = timm.create_model(name, pretrained=True, **options)
        except Exception as error:
            raise UserError(
                f"the pre-trained weights of {name!r} cannot be downloaded ({type(error).__name__}); "
                "give a file: --set weights=PATH, or train from scratch: --protocol standard-scratch"
            ) from error
        return _reading(lambda: model, name, in_chans, image_size)
    model = _reading(lambda: timm.create_model(name, pretrained=False, **options), name, in_chans, image_size)
    if path is not None:
        load_weights(model, Path(path), name)
    return model


def _reading(build: Callable[[], nn.Module], name: str, in_chans: int, image_size: int) -> nn.Module:
    """The network that `build` makes, once it has read an image of this size."""
    try:
        model = build()
        with torch.no_grad():
            model.eval()(torch.zeros(1, in_chans, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        why = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise UserError(
            f"backbone {name!r} cannot read images or crops of {image_size} x {image_size} px ({why}); take another "
            "size with --set protocol.image_size=N, or another backbone"
        ) from error
    return model.train()


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Load a .safetensors file with timm's or torchvision's key names, strictly but for the last layer."""
    from safetensors.torch import load_file

    try:
        state = load_file(str(path))
    except Exception as error:
        raise UserError(f"weights file {path} is no readable .safetensors file: {error}") from error
    own = model.state_dict()
    head = ("classifier.", "fc.", "head.")
    state = {k: v for k, v in state.items() if not k.startswith(head) or k in own}
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    complete = set(state) | set(counters) == set(own)
    state = {**counters, **state} if complete else _by_order(state, own, path, name)
    wrong = [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        raise UserError(
            f"weights {path.name} do not fit backbone {name!r}: {wrong[0]} is {tuple(state[wrong[0]].shape)}, "
            f"expected {tuple(own[wrong[0]].shape)}; for grey images use a data set option that gives 3 channels"
        )
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})


def _by_order(state: dict[str, Tensor], own: dict[str, Tensor], path: Path, name: str) -> dict[str, Tensor]:
    """Match other key names (torchvision's) by module order and tensor kind; every shape must agree."""
    kinds = ("weight", "bias", "running_mean", "running_var")
    theirs = [k for k in sorted_by_module(state) if k.rsplit(".", 1)[-1] in kinds]
    ours = [k for k in own if k.rsplit(".", 1)[-1] in kinds]
    fits = len(theirs) == len(ours) and all(
        a.rsplit(".", 1)[-1] == b.rsplit(".", 1)[-1] for a, b in zip(theirs, ours, strict=True)
    )
    if not fits:
        raise UserError(
            f"weights {path.name} hold {len(theirs)} tensors, backbone {name!r} needs {len(ours)}; "
            "give a file of this architecture with timm's or torchvision's names"
        )
    result = {b: state[a] for a, b in zip(theirs, ours, strict=True)}
    return {k: result.get(k, own[k]) for k in own}


def sorted_by_module(state: dict[str, Tensor]) -> list[str]:
    """Keys in the order of the network: numbers in the names compared as numbers, kinds as torch lists them."""
    kinds = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3, "num_batches_tracked": 4}

    def key(name: str) -> list[Any]:
        *path, kind = name.split(".")
        return [*((0, int(p), "") if p.isdigit() else (1, 0, p) for p in path), (2, kinds.get(kind, 9), kind)]

    return sorted(state, key=key)
