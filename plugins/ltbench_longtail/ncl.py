"""Nested collaborative learning: several experts that learn alone, on hard classes, and from each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context, Loss
from ltbench.models.twins import follow, slow_twin
from ltbench.options import number, whole
from ltbench_longtail.parts import (
    BranchedClassifier,
    PriorCrossEntropy,
    Projector,
    Queue,
    contrast,
)

HCM = ("restrict", "multiply")


def hard_classes(raw: Tensor, targets: Tensor, hard: int) -> Tensor:
    """int64 (N, hard): the target first, then the most confusing other classes of raw logits (N, C)."""
    scores = raw.detach().scatter(1, targets[:, None], float("inf"))
    return scores.topk(hard, dim=1).indices


def hard_view(shifted: Tensor, classes: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Logits (K, N, .) on the hard classes (N, H) and targets (N,) in them, from shifted logits (K, N, C).

    "restrict" keeps these classes alone, target first (paper); "multiply" sets the others to 0 (code).
    """
    if how == "restrict":
        return shifted.gather(2, classes.expand(len(shifted), -1, -1)), torch.zeros_like(classes[:, 0])
    mask = torch.zeros_like(shifted[0]).scatter(1, classes, 1.0)
    return shifted * mask, classes[:, 0]


def mutual(logits: Tensor) -> Tensor:
    """sum_{i != j} KL(softmax v_j || softmax v_i) / (K - 1) of logits (K, N, C), mean over N (NBOD)."""
    log_probs = logits.log_softmax(2)
    probs = log_probs.exp()
    pairs = len(logits) * (probs * log_probs).sum(0) - probs.sum(0) * log_probs.sum(0)  # i = j adds 0
    return pairs.sum(1).mean() / (len(logits) - 1)


def ncl_loss(raw: Tensor, shifted: Tensor, targets: Tensor, *, hard: int, distil: float, hcm: str) -> Tensor:
    """The whole objective but its self-supervised part, of raw and shifted (+ log n) logits (K, N, C)."""

    def both(logits: Tensor, targets: Tensor) -> Tensor:
        experts = len(logits)
        alone = experts * F.cross_entropy(logits.flatten(0, 1), targets.repeat(experts))
        return alone + distil * mutual(logits)

    return both(shifted, targets) + both(*hard_view(shifted, hard_classes(raw[0], targets, hard), hcm))


class Experts(nn.Module):
    """K networks, their slow twins and queues; forward is the mean of their raw logits (B, C)."""

    def __init__(self, experts: list[nn.Module], queue: int, dim: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.twins = nn.ModuleList(slow_twin(expert) for expert in experts if queue)
        self.queues = nn.ModuleList(Queue(queue, dim) for _ in experts if queue)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([expert(x) for expert in self.experts]).mean(0)


class NCL(BranchedClassifier):
    """Nested collaborative learning, Li et al. 2022: balanced softmax, hard classes, mutual distillation.

    experts: K >= 2 whole networks. hard: share of the classes, target included, that the nested part sees (at least
    2). hcm: "restrict" or "multiply". distil: weight of the mutual part. with_contrastive: instance discrimination of
    a second, strong view against a queue of `queue` vectors of `dim`, with `temperature` and twin `momentum`.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"hard": ("linear", 0.1, 0.6), "distil": ("log", 0.1, 2.0)}
    version: ClassVar[int] = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}, "base": {}, "paper": {"with_contrastive": True}}
    slots: ClassVar[frozenset[str]] = frozenset()
    loss: PriorCrossEntropy
    net: Any  # Experts

    def __init__(
        self,
        *,
        experts: int = 3,
        hard: float = 0.3,
        hcm: str = "restrict",
        distil: float = 0.6,
        with_contrastive: bool = False,
        queue: int = 1024,
        dim: int = 64,
        temperature: float = 0.2,
        momentum: float = 0.999,
        eval_batch: int = 256,
    ) -> None:
        super().__init__(eval_batch=eval_batch)
        self.experts = whole("classifier.experts", experts, 2)
        self.hard = number("classifier.hard", hard, high=1, ends="(]")
        if hcm not in HCM:
            raise UserError(f"classifier.hcm must be one of {', '.join(HCM)}, got {hcm!r}")
        self.hcm, self.distil = hcm, number("classifier.distil", distil)
        queue = whole("classifier.queue", queue, 1)
        self.queue = queue if with_contrastive else 0
        self.dim = whole("classifier.dim", dim, 1)
        self.temperature = number("classifier.temperature", temperature, ends="()")
        self.momentum = number("classifier.momentum", momentum, high=1, ends="[]")
        self.views = ("protocol", "strong") if with_contrastive else ("protocol",)

    def build_loss(self, context: Context) -> Loss:
        return PriorCrossEntropy()

    def branches(self, width: int, classes: int) -> list[nn.Module]:
        return [Projector(width, width, self.dim)] if self.queue else []

    def build(self, context: Context) -> nn.Module:
        experts = [BranchedClassifier.build(self, context) for _ in range(self.experts)]
        return Experts(experts, self.queue, self.dim)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x = self.prepare(batch.images)
        with self.autocast():
            features = [expert[0](x) for expert in self.net.experts]
            pairs = zip(self.net.experts, features, strict=True)
            raw = torch.stack([expert[1](f) for expert, f in pairs]).float()
        classes = raw.shape[2]
        hard = min(max(2, round(self.hard * classes)), classes)
        shifted = self.loss.shift(raw)
        loss = ncl_loss(raw, shifted, batch.labels, hard=hard, distil=self.distil, hcm=self.hcm)
        if self.queue:
            loss = loss + self._discriminate(features, self.prepare(batch.views[1]))
        return loss, raw.mean(0)

    def _discriminate(self, features: list[Tensor], second: Tensor) -> Tensor:
        """sum_k of InfoNCE: each image's first view against its second view's key and the queue."""
        parts = []
        for expert, twin, queue, f in zip(self.net.experts, self.net.twins, self.net.queues, features, strict=True):
            follow(twin, expert, self.momentum)
            with self.autocast():
                query = expert[2](f)
                with torch.no_grad():
                    keys = twin[2](twin[0](second))
            stored, _ = queue.filled()
            own = torch.eye(len(keys), len(keys) + len(stored), dtype=torch.bool, device=keys.device)
            candidate = own | (torch.arange(own.shape[1], device=keys.device) >= len(keys))
            parts.append(contrast(query, torch.cat([keys, stored]), own, candidate, self.temperature))
            queue.push(keys, torch.zeros(len(keys), dtype=torch.int64, device=keys.device))
        return torch.stack(parts).sum()
