"""LIFT: a frozen pre-trained ViT with small modules, a cosine head and logit adjustment (Shi et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from ltbench_decoupling.ncm import train_means
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Context, Stage
from ltbench.models.nets import CosineHead
from ltbench.models.standard import StandardClassifier

DEFAULT = "vit_base_patch16_224.augreg_in21k"
PATCHES_FROM = 64  # px; smaller images are cut into PATCHES x PATCHES patches
PATCHES = 4
ENLARGED = 248 / 224  # of five-crop prediction


def adapter_width(classes: int, blocks: int) -> int:
    """r = 2^max(0, trunc(log2(C / 2L))) for C classes and L blocks (the release's rule)."""
    return 2 ** max(0, math.trunc(math.log2(classes / (2 * blocks))))


def five_crops(x: Tensor) -> list[Tensor]:
    """Corners and centre, each of the size of x (n, c, s, s), of x enlarged from 224 to 248."""
    size = x.shape[-1]
    big = F.interpolate(x, size=(round(size * ENLARGED),) * 2, mode="bilinear", align_corners=False)
    room = big.shape[-1] - size
    corners = [(0, 0), (0, room), (room, 0), (room, room), (room // 2, room // 2)]
    return [big[:, :, top : top + size, left : left + size] for top, left in corners]


class Adapter(nn.Module):
    """AdaptFormer module A(h) = s Up(ReLU(Down(LN(h)))), 0 at first: Up and all biases start at zero."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.norm, self.down, self.up = nn.LayerNorm(features), nn.Linear(features, width), nn.Linear(width, features)
        self.scale = nn.Parameter(torch.ones(()))
        nn.init.kaiming_normal_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, h: Tensor) -> Tensor:
        return self.scale * self.up(F.relu(self.down(self.norm(h))))


def adapt(block: nn.Module, features: int, width: int) -> None:
    """Give a block h + MLP(LN(h)) an adapter beside its MLP: h + MLP(LN(h)) + A(h)."""
    adapter = Adapter(features, width)
    block.add_module("adapter", adapter)
    seen: list[Tensor] = []
    block.norm2.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0]))  # type: ignore[union-attr, operator]
    block.register_forward_hook(lambda block, inputs, output: output + adapter(seen.pop()))


class Lift(StandardClassifier):
    """Adapters and cosine head train, on loss logit-adjustment by default; every weight of the ViT stays as it was.

    weights_path: a file of `backbone`'s weights; without one timm downloads them where protocol.weights is "timm".
    untrained: a random ViT instead, for trials; being an override it is part of the row's name.
    adapter_dim: width of the adapters, default `adapter_width`. patch_size: default the backbone's, from 64 px on.
    tte: mean logits of five crops.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"scale": ("log", 10.0, 60.0)}
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"backbone": "vit_tiny_patch16_224.augreg_in21k"},
        "base": {},
        "paper": {},
    }
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {"untrained": True}
    owns: ClassVar[Mapping[str, str]] = {
        "backbone": "a frozen ViT, classifier.backbone",
        "weights": "those of the ViT, classifier.weights_path or timm's",
    }

    def __init__(
        self,
        *,
        backbone: str = DEFAULT,
        weights_path: str | None = None,
        untrained: bool = False,
        adapter_dim: int | None = None,
        patch_size: int | None = None,
        scale: float = 25.0,
        tte: bool = False,
        eval_batch: int = 256,
    ) -> None:
        for name, value in (("adapter_dim", adapter_dim), ("patch_size", patch_size), ("scale", scale)):
            if value is not None and not value > 0:
                raise UserError(f"classifier.{name} must be > 0, got {value}")
        if untrained and weights_path:
            raise UserError("classifier.untrained=true contradicts classifier.weights_path; give one of them")
        super().__init__(eval_batch=eval_batch)
        self.backbone, self.weights_path, self.untrained = backbone, weights_path, untrained
        self.adapter_dim, self.patch_size, self.scale = adapter_dim, patch_size, scale
        self.tte = tte

    def build(self, context: Context) -> nn.Module:
        self.channels_in = 3
        vit = self._vit(context.task.image_shape[0], context.recipe["protocol"]["weights"])
        blocks: Any = getattr(vit, "blocks", None)
        if blocks is None or not all(hasattr(block, "norm2") for block in blocks):
            raise UserError(f"lift needs a ViT, {self.backbone!r} is none; use {DEFAULT}")
        features = int(vit.num_features)  # type: ignore[arg-type]
        width = self.adapter_dim or adapter_width(context.task.num_classes, len(blocks))
        vit.requires_grad_(False)
        for block in blocks:
            adapt(block, features, width)
        return nn.Sequential(vit, CosineHead(features, context.task.num_classes, self.scale))

    def _vit(self, size: int, weights: str) -> nn.Module:
        """The ViT for images of `size` px, positions and patches fitted to it; UserError without weights."""
        import timm

        if not timm.is_model(self.backbone):
            known = ", ".join(timm.list_models("vit_*16_224")[:3])
            raise UserError(f"unknown backbone {self.backbone!r}; timm has for example {known}")
        download = weights == "timm" and not self.weights_path and not self.untrained
        if not (download or self.weights_path or self.untrained):
            raise UserError(
                f"lift tunes a pre-trained ViT and has no weights: give a .safetensors file of {self.backbone} with "
                "--set classifier.weights_path=PATH, download them with --set protocol.weights=timm, or try it "
                "untrained with --set classifier.untrained=true"
            )
        options: dict[str, Any] = {"num_classes": 0, "img_size": size}
        patch = self.patch_size or (max(1, size // PATCHES) if size < PATCHES_FROM else None)
        options |= {"patch_size": patch} if patch else {}
        try:
            vit = timm.create_model(self.backbone, pretrained=download, **options)
        except TypeError as error:
            raise UserError(f"lift needs a ViT, {self.backbone!r} is none; use {DEFAULT}") from error
        except Exception as error:
            raise UserError(
                f"backbone {self.backbone!r} cannot be built or downloaded ({type(error).__name__}: {error}); "
                "give a file: --set classifier.weights_path=PATH"
            ) from error
        if self.weights_path:
            _load(vit, Path(self.weights_path), self.backbone)
        return vit

    def _normalisation(self, context: Context) -> tuple[Any, Any]:
        config: Any = self.net[0].pretrained_cfg  # type: ignore[index]
        return config["mean"], config["std"]

    def start_stage(self, stage: Stage, context: Context) -> None:
        """The head starts at the class means of the frozen features; a class without images keeps its random vector."""
        means, head = train_means(self, context), self.net[1]  # type: ignore[index]
        with torch.no_grad():
            head.weight.copy_(torch.where(means.any(1, keepdim=True), F.normalize(means, dim=1), head.weight))
        super().start_stage(stage, context)

    def logits(self, x: Tensor) -> Tensor:
        views, plain = five_crops(x) if self.tte else [x], super().logits
        return torch.stack([plain(view) for view in views]).mean(0)


def _load(vit: nn.Module, path: Path, name: str) -> None:
    """Load timm's weights of the same network, made for any image or patch size; UserError where they do not fit."""
    from safetensors.torch import load_file
    from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

    if not path.is_file():
        raise UserError(f"classifier.weights_path {str(path)!r} does not exist; give a .safetensors file of {name}")
    if not isinstance(vit, VisionTransformer):
        raise UserError(f"classifier.weights_path works with timm's plain ViTs, {name!r} is none")
    try:
        missing = vit.load_state_dict(checkpoint_filter_fn(load_file(str(path)), vit), strict=False).missing_keys
    except Exception as error:
        raise UserError(f"weights {path.name} do not fit {name!r}: {str(error).splitlines()[0]}") from error
    if missing:
        raise UserError(f"weights {path.name} do not fit {name!r}: {missing[0]} is missing; give timm's file of {name}")
