"""Supervised contrast on balanced batches, then a linear head on the frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context, EpochPlan, EpochView, Feedback, Sampler, Stage
from ltbench.options import number, whole
from ltbench_longtail.parts import BranchedClassifier, Projector, contrast


class BalancedBatches(Sampler):
    """floor(B/C) images of each of the C classes with images in every batch, smaller classes over and over.

    An epoch has max_c n_c * C // B batches, at least one. UserError where a batch has fewer slots than classes.
    """

    uses_class_counts = True

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        counts = view.class_counts
        classes = np.flatnonzero(counts)
        each = view.batch_size // len(classes)
        if each < 1:
            raise UserError(
                f"balanced-batches puts every class into each batch, but {len(classes)} classes do not fit into "
                f"{view.batch_size} images; use --set protocol.batch_size={len(classes)} or more, or another sampler"
            )
        steps = max(int(counts.max()) * len(classes) // view.batch_size, 1)
        columns = [_cycled(np.flatnonzero(view.labels == c), steps * each, rng).reshape(steps, each) for c in classes]
        rows = np.concatenate(columns, axis=1)
        return [EpochPlan(rows=rows.flatten(), sizes=np.full(steps, rows.shape[1]))]


def _cycled(members: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n of the members (m,): each once in random order, then all anew."""
    return np.concatenate([rng.permutation(members) for _ in range(-(-n // len(members)))])[:n]


def supcon(features: Tensor, labels: Tensor | None, temperature: float, base_temperature: float | None) -> Tensor:
    """Supervised contrast of unit vectors (N, V, A) with labels (N,); None makes each sample a class of its own.

    Scaled by temperature / base_temperature (None: not). Khosla et al. 2020, equation 2.
    """
    samples, views = features.shape[:2]
    groups = torch.arange(samples, device=features.device) if labels is None else labels
    groups = groups.repeat_interleave(views)
    others = ~torch.eye(len(groups), dtype=torch.bool, device=features.device)
    flat = features.flatten(0, 1)
    scale = 1.0 if base_temperature is None else temperature / base_temperature
    return scale * contrast(flat, flat, (groups[:, None] == groups) & others, others, temperature)


class CLSupCon(BranchedClassifier):
    """CL, Marrakchi et al. 2021: an encoder by supervised contrast of two strong views, then a linear head.

    temperature, base_temperature (None: the same): of the contrast. dim: width of the projection. head_epochs: length
    of stage 2 as a fraction of the protocol's epochs, in addition to them. head_rate: factor of the protocol's learning
    rate in stage 2. head_sampler: the sampler of stage 2; the cell's own serves stage 1. The loss is that of the head.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"temperature": ("log", 0.05, 0.5), "head_rate": ("log", 1.0, 30.0)}
    version: ClassVar[int] = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"dim": 32}, "base": {}, "paper": {}}
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {"head_epochs": 1.0}

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        base_temperature: float | None = None,
        dim: int = 128,
        head_epochs: float = 0.4,
        head_rate: float = 10.0,
        head_sampler: str | Mapping[str, Any] = "instance",
        eval_batch: int = 256,
    ) -> None:
        super().__init__(eval_batch=eval_batch)
        self.temperature = number("classifier.temperature", temperature, ends="()")
        if base_temperature is not None:
            number("classifier.base_temperature", base_temperature, ends="()")
        self.base_temperature = base_temperature
        self.dim = whole("classifier.dim", dim, 1)
        self.head_epochs = number("classifier.head_epochs", head_epochs, ends="()")
        self.head_rate = number("classifier.head_rate", head_rate, ends="()")
        self.head_sampler = head_sampler
        self.frozen = False

    def stages(self, epochs: int) -> list[Stage]:
        head = max(1, round(self.head_epochs * epochs))
        contrastive = Stage("contrast", epochs, evaluate_every=epochs, select=False)  # no head to judge it by
        return [contrastive, Stage("head", head, sampler=self.head_sampler)]

    def start_stage(self, stage: Stage, context: Context) -> None:
        self.frozen = stage.name == "head"
        self.views = ("protocol",) if self.frozen else ("strong", "strong")
        self.net[0].requires_grad_(not self.frozen)
        super().start_stage(stage, context)

    def branches(self, width: int, classes: int) -> list[nn.Module]:
        return [Projector(width, width, self.dim, norm=False)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        backbone, head, project = self.net
        if self.frozen:
            return [{"params": list(head.parameters()), "lr_scale": self.head_rate}]
        return [{"params": [*backbone.parameters(), *project.parameters()]}]

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        backbone, head, project = self.net
        if self.frozen:
            backbone.eval()  # its BatchNorm statistics are those of stage 1
            return super().training_loss(batch)
        with self.autocast():
            features = backbone(self.prepare(torch.cat(batch.views)))
            units = project(features).unflatten(0, (len(batch.views), -1)).transpose(0, 1)
            logits = head(features.detach()[: len(batch.labels)])
        return supcon(units, batch.labels, self.temperature, self.base_temperature), logits
