"""Prototype-aware contrast with a labelled queue, adversarial proto-instances and re-calibrated prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context
from ltbench.models.twins import follow, slow_twin
from ltbench.options import number, whole
from ltbench_longtail.parts import BranchedClassifier, Projector, Queue, contrast

PAPER_QUEUE = 1024


def recalibration(class_counts: Any, power: float) -> Tensor:
    """r_c = (1/pi_c)^power rescaled to mean 1, float64 (C,), from counts (C,)."""
    counts = torch.as_tensor(np.asarray(class_counts), dtype=torch.float64).clamp(min=1)
    weights = counts**-power
    return weights / weights.mean()


def proto_instances(
    prototypes: Tensor, known: Tensor, stored: Tensor, labels: Tensor, hard: int
) -> tuple[Tensor, Tensor]:
    """Midpoints, unit (M, A), of each known class's prototype and the `hard` nearest vectors of other classes.

    prototypes (C, A), known bool (C,), stored (Q, A) with labels (Q,). A midpoint has the stored vector's label, (M,).
    """
    classes = torch.arange(len(prototypes), device=labels.device)
    similarity = prototypes @ stored.T
    foreign = known[:, None] & (labels[None] != classes[:, None])
    best = similarity.masked_fill(~foreign, -torch.inf).topk(min(hard, len(labels)), dim=1)
    owner, rank = torch.nonzero(torch.isfinite(best.values), as_tuple=True)
    taken = best.indices[owner, rank]
    return F.normalize(prototypes[owner] + stored[taken], dim=1), labels[taken]


def queue_size(asked: int | None, images: int, batch: int) -> int:
    """Slots: as asked, at most `images`; by default the largest multiple of `batch` up to 1024 and `images`."""
    if asked is None:
        room = min(PAPER_QUEUE, images)
        return room // batch * batch or room
    if asked > images:
        raise UserError(
            f"the queue has {asked} slots, but there are {images} training images; "
            f"use --set classifier.queue={images} or fewer, or none for the default"
        )
    return asked


class Prototypes(nn.Module):
    """A unit vector for each class, (C, A), 0 until the class was seen."""

    vectors: Tensor

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, dim))

    @torch.no_grad()
    def update(self, units: Tensor, labels: Tensor, momentum: float) -> None:
        """p_c <- normalize(momentum p_c + (1 - momentum) mean of class c's vectors); absent classes keep theirs."""
        sums = torch.zeros_like(self.vectors).index_add_(0, labels, units)
        counts = torch.bincount(labels, minlength=len(sums))[:, None]
        moved = F.normalize(momentum * self.vectors + (1 - momentum) * sums / counts.clamp(min=1), dim=1)
        self.vectors.copy_(torch.where(counts > 0, moved, self.vectors))


class ProCoProto(BranchedClassifier):
    """ProCo, Yang et al. 2022: the loss of the class head and contrast with keys, queue, prototypes, proto-instances.

    The paper's contrastive loss is not released; what it weighs and in which order things are updated is assumed here.
    queue: slots, a ring that any batch size may fill, at most the training images (None: see `queue_size`).
    momentum, proto_momentum: of the slow twin and of the prototypes. hard: proto-instances a class. recalibrate:
    exponent of 1/pi in the prototypes' weights. contrast: weight of the contrastive part.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {
        "temperature": ("log", 0.05, 0.5),
        "recalibrate": ("linear", 0.0, 1.0),
        "contrast": ("log", 0.1, 10.0),
    }
    version: ClassVar[int] = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"dim": 32, "momentum": 0.99}, "base": {}, "paper": {}}
    views = ("protocol", "strong")

    def __init__(
        self,
        *,
        dim: int = 128,
        temperature: float = 0.07,
        queue: int | None = None,
        momentum: float = 0.999,
        proto_momentum: float = 0.99,
        hard: int = 8,
        recalibrate: float = 0.5,
        contrast: float = 1.0,
        eval_batch: int = 256,
    ) -> None:
        super().__init__(eval_batch=eval_batch)
        self.dim = whole("classifier.dim", dim, 1)
        self.temperature = number("classifier.temperature", temperature, ends="()")
        self.queue = queue if queue is None else whole("classifier.queue", queue, 1)
        self.momentum = number("classifier.momentum", momentum, high=1, ends="[]")
        self.proto_momentum = number("classifier.proto_momentum", proto_momentum, high=1, ends="[]")
        self.hard = whole("classifier.hard", hard, 1)
        self.recalibrate = number("classifier.recalibrate", recalibrate)
        self.contrast = number("classifier.contrast", contrast)

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.share = recalibration(context.task.class_counts, self.recalibrate).float().to(self.device)

    def branches(self, width: int, classes: int) -> list[nn.Module]:
        return [Projector(width, width, self.dim)]

    def build(self, context: Context) -> nn.Module:
        net: Any = super().build(context)
        size = queue_size(self.queue, len(context.train), context.recipe["protocol"]["batch_size"])
        memory = [slow_twin(net), Queue(size, self.dim), Prototypes(context.task.num_classes, self.dim)]
        return net.extend(memory)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        backbone, head, project, twin, queue, prototypes = self.net
        follow(twin, self.net[:3], self.momentum)
        with self.autocast():
            features = backbone(self.prepare(batch.images))
            logits, query = head(features), project(features)
            with torch.no_grad():
                keys = twin[2](twin[0](self.prepare(batch.views[1])))
        candidates, labels, weight = self._candidates(keys, batch.labels)
        near = contrast(query, candidates, batch.labels[:, None] == labels, weight, self.temperature)
        queue.push(keys, batch.labels)
        prototypes.update(query, batch.labels, self.proto_momentum)
        return self.loss.loss(logits.float(), batch.labels) + self.contrast * near, logits

    @torch.no_grad()
    def _candidates(self, keys: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (V, A), labels (V,) and weights (V,): keys and queue, prototypes, proto-instances."""
        _, _, _, _, queue, prototypes = self.net
        stored, labels = queue.filled()
        known = prototypes.vectors.any(1)
        classes = torch.nonzero(known).flatten()
        mixed, mixed_labels = proto_instances(prototypes.vectors, known, stored, labels, self.hard)
        vectors = [keys, stored, mixed, prototypes.vectors[classes]]
        all_labels = torch.cat([own, labels, mixed_labels, classes])
        plain = torch.ones(len(all_labels) - len(classes), device=own.device)
        return torch.cat(vectors), all_labels, torch.cat([plain, self.share[classes]])
