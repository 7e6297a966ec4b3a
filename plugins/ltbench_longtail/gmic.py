"""Globally-aware multiple instance classifier, GMIC (Shen et al. 2021), from its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context
from ltbench.models.nets import build_backbone
from ltbench.models.regions import GatedAttention, crops, regions
from ltbench.models.standard import StandardClassifier
from ltbench_longtail.maps import last_map, map_shape

PAPER_CROP, PAPER_SIZE, RESNET_FROM = 32, 224, 32  # px


def top_mean(maps: Tensor, share: float) -> Tensor:
    """(B, C): mean of the largest `share` of the values of each map, at least one, of maps (B, C, h, w)."""
    values = maps.flatten(2)
    return values.topk(max(1, round(values.shape[2] * share)), dim=2).values.mean(2)


class Outputs(NamedTuple):
    """Saliency before the sigmoid (B, C, h, w), local and fusion logits (B, C)."""

    maps: Tensor
    local: Tensor
    fusion: Tensor


class GMICNet(nn.Module):
    """Global network, saliency, regions, local network, attention and fusion; forward gives the fusion logits."""

    def __init__(
        self,
        globally: nn.Module,
        locally: nn.Module,
        width: int,
        classes: int,
        crop: int,
        count: int,
        attention_width: int,
        eps: float,
    ) -> None:
        super().__init__()
        features = int(locally.num_features)  # type: ignore[arg-type]
        self.globally, self.locally, self.crop, self.count, self.eps = globally, locally, crop, count, eps
        self.saliency = nn.Conv2d(width, classes, 1, bias=False)
        self.attention = GatedAttention(features, attention_width)
        self.local_head = nn.Linear(features, classes)
        self.fusion_head = nn.Linear(width + features, classes)

    def outputs(self, x: Tensor) -> Outputs:
        """All outputs for images (B, c, s, s); the places of the crops carry no gradient."""
        h = last_map(self.globally, x)
        maps = self.saliency(h)
        parts = crops(x, self._corners(maps.detach().float().sigmoid(), x.shape[-1]), self.crop)
        found = self.locally(parts.flatten(0, 1)).unflatten(0, parts.shape[:2])
        z, _ = self.attention(found)
        return Outputs(maps, self.local_head(z), self.fusion_head(torch.cat([h.amax((2, 3)), z], 1)))

    def _corners(self, saliency: Tensor, size: int) -> Tensor:
        """Pixel corners of the crops, in the middle of the chosen windows of the map."""
        shape = torch.tensor(saliency.shape[2:], device=saliency.device)
        window = [max(1, round(self.crop * n / size)) for n in saliency.shape[2:]]
        corners = regions(saliency, (window[0], window[1]), self.count, self.eps)
        middle = (corners + torch.tensor(window, device=saliency.device) / 2) * size / shape
        return (middle - self.crop / 2).round().long().clamp(0, size - self.crop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, s, s) -> (B, C)."""
        return self.outputs(x).fusion


class GMIC(StandardClassifier):
    """Global, local and fusion loss + beta * mean |saliency| summed over the map; the fusion predicts.

    head: "softmax" (the recipe's loss on three logit vectors) or "sigmoid" (the paper's binary cross-entropies, which
    replace the loss; probabilities are then sigmoids over their sum). crop: pixels, default 32 at 224 px, in
    proportion, but at least 8 up to half the image. local: network of the crops, "auto" is ResNet-18 from 32 px.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"top": ("linear", 0.01, 0.2), "beta": ("log", 3e-6, 3e-4)}

    def __init__(
        self,
        *,
        head: str = "softmax",
        top: float = 0.2,
        beta: float = 1e-4,
        crops: int = 6,
        crop: int | None = None,
        attention_width: int = 128,
        local: str = "auto",
        eps: float = 1e-8,
        eval_batch: int = 256,
    ) -> None:
        if head not in ("softmax", "sigmoid"):
            raise UserError(f"classifier.head must be softmax or sigmoid, got {head!r}")
        if not 0 < top <= 1 or not beta >= 0 or crops < 1 or not eps > 0:
            raise UserError("gmic needs 0 < top <= 1, beta >= 0, crops >= 1 and eps > 0; see ltbench show gmic")
        super().__init__(eval_batch=eval_batch)
        self.head, self.top, self.beta, self.crops, self.crop = head, top, beta, crops, crop
        self.attention_width, self.local, self.eps = attention_width, local, eps

    def build(self, context: Context) -> nn.Module:
        protocol, size = context.recipe["protocol"], context.task.image_shape[0]
        globally = next(super().build(context).children())
        width, *_ = map_shape(globally, self.channels_in, size, "gmic", protocol["backbone"])
        crop = self.crop or max(round(size * PAPER_CROP / PAPER_SIZE), min(8, size // 2))
        if not 0 < crop <= size:
            raise UserError(f"classifier.crop must lie in 1..{size}, the image size, got {crop}")
        small = "resnet18" if crop >= RESNET_FROM else "small_resnet"
        name = small if self.local == "auto" else self.local
        weights = "timm" if protocol["weights"] == "timm" and not name.startswith("small") else "none"
        locally = build_backbone(name, self.channels_in, crop, weights, None)
        return GMICNet(
            globally, locally, width, context.task.num_classes, crop, self.crops, self.attention_width, self.eps
        )

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(self.net, GMICNet)
        with self.autocast():
            out = Outputs(*(part.float() for part in self.net.outputs(self.prepare(batch.images))))
        saliency = out.maps.sigmoid()
        if self.head == "softmax":
            vectors = (top_mean(out.maps, self.top), out.local, out.fusion)
            terms = [self.loss.loss(logits, batch.labels) for logits in vectors]
        else:
            wanted = F.one_hot(batch.labels, out.fusion.shape[1]).float()
            terms = [F.binary_cross_entropy(top_mean(saliency, self.top), wanted)]
            terms += [F.binary_cross_entropy_with_logits(logits, wanted) for logits in (out.local, out.fusion)]
        return torch.stack(terms).sum() + self.beta * saliency.sum((1, 2, 3)).mean(), out.fusion

    def logits(self, x: Tensor) -> Tensor:
        if self.head == "softmax":
            return super().logits(x)
        return F.logsigmoid(self.net(self.prepare(x)).float())
