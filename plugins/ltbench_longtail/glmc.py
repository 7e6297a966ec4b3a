"""Global and local mixture consistency with cumulative learning, and the sampler that pairs its two streams."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from ltbench_losses.ce import CrossEntropy
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.interfaces import Batch, Context, EpochPlan, EpochView, Feedback, Loss, Sampler, in_batches
from ltbench.options import number, whole
from ltbench_longtail.parts import BranchedClassifier

log = logging.getLogger("ltbench")


class Paired(Sampler):
    """Batches [natural | weighted] of twice the protocol's size: every image once, beside draws with P ~ n^-rho.

    The weighted half is drawn with replacement. Each half has the protocol's batch size, so that an epoch keeps its
    number of steps and costs twice the images. resample_weighting: rho >= 0, 0 = uniform.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"resample_weighting": ("linear", 0.0, 1.0)}
    uses_class_counts = True

    def __init__(self, *, resample_weighting: float = 0.0) -> None:
        self.rho = number("sampler.resample_weighting", resample_weighting)

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        natural = in_batches(rng.permutation(len(view.labels)), view.batch_size)
        weights = np.maximum(view.class_counts, 1)[view.labels] ** -float(self.rho)
        weighted = rng.choice(len(view.labels), len(view.labels), p=weights / weights.sum())
        ends = np.cumsum(natural.sizes)
        spans = zip(ends - natural.sizes, ends, strict=True)
        rows = [part[start:end] for start, end in spans for part in (natural.rows, weighted)]
        return [EpochPlan(rows=np.concatenate(rows), sizes=2 * natural.sizes)]


def cut_box(height: int, width: int, share: float, centre: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of CutMix's box around `centre`: sides ceil(side * sqrt(1 - share)), clipped at the border."""

    def span(side: int, middle: int) -> slice:
        half = math.ceil(side * math.sqrt(1 - share)) // 2
        return slice(max(middle - half, 0), min(middle + half, side))

    return span(height, centre[0]), span(width, centre[1])


def cut_mix(first: Tensor, second: Tensor, box: tuple[slice, slice]) -> Tensor:
    """A copy of `first` (B, c, h, w) with the box taken from `second`."""
    out = first.clone()
    out[:, :, box[0], box[1]] = second[:, :, box[0], box[1]]
    return out


def class_weights(class_counts: Any, k: float) -> Tensor:
    """w_c = n_c^-k rescaled to sum C, float64 (C,), from counts (C,)."""
    counts = torch.as_tensor(np.asarray(class_counts), dtype=torch.float64).clamp(min=1)
    weights = counts**-k
    return weights * len(weights) / weights.sum()


def soft_labels(first: Tensor, second: Tensor, share: float, weights: Tensor) -> Tensor:
    """share * w_y e_y + (1 - share) * w_y' e_y', (N, C), of labels (N,), (N,) and weights (C,); sums to 1 for w = 1."""
    table = torch.diag(weights)
    return share * table[first] + (1 - share) * table[second]


def disagreement(predictions: Tensor, projections: Tensor) -> Tensor:
    """-mean cos(p, sg z) of (N, A) each."""
    return -F.cosine_similarity(predictions, projections.detach(), dim=1).mean()


def cumulative(epoch: int, epochs: int) -> float:
    """1 - (t/T)^2, the weight of the instance head in epoch t = 0..T-1."""
    return 1 - (epoch / epochs) ** 2


class GLMC(BranchedClassifier):
    """GLMC, Du F. et al. 2023: MixUp and CutMix of two streams must agree; learning moves to the re-balanced head.

    A batch is [natural | weighted], as the sampler `paired` makes it; an odd batch shares its middle image. The
    re-balanced head alone predicts. beta: share ~ Beta(beta, beta), one a step. label_weighting: exponent k of the
    class weights. consistency: eta. dim: width of projection and prediction. exact_area: label
    CutMix by the pixels of the clipped box instead of the nominal share.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {
        "label_weighting": ("linear", 0.5, 1.2),
        "consistency": ("log", 0.3, 10.0),
    }
    version: ClassVar[int] = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"dim": 64}, "base": {}, "paper": {}}
    slots: ClassVar[frozenset[str]] = frozenset()
    views = ("protocol", "strong")

    def __init__(
        self,
        *,
        beta: float = 1.0,
        label_weighting: float = 1.0,
        consistency: float = 1.0,
        dim: int = 256,
        exact_area: bool = False,
        eval_batch: int = 256,
    ) -> None:
        super().__init__(eval_batch=eval_batch)
        self.beta = number("classifier.beta", beta, ends="()")
        self.label_weighting = number("classifier.label_weighting", label_weighting)
        self.consistency = number("classifier.consistency", consistency)
        self.dim = whole("classifier.dim", dim, 1)
        self.exact_area = exact_area

    def build_loss(self, context: Context) -> Loss:
        return CrossEntropy()

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.context = context
        sampler = context.recipe["sampler"]["name"]
        if sampler != "paired":
            log.warning(
                "glmc: sampler %s gives no paired batches, so its halves are mixed; use sampler=paired", sampler
            )
        self.weights = class_weights(context.task.class_counts, self.label_weighting).float().to(self.device)

    def branches(self, width: int, classes: int) -> list[nn.Module]:
        return [nn.Linear(width, classes), nn.Linear(width, self.dim), nn.Linear(self.dim, self.dim)]

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rng = self.context.rng("mix", batch.step)
        half = (len(batch.labels) + 1) // 2
        share = float(rng.beta(self.beta, self.beta))
        height, width = batch.images.shape[2:]
        box = cut_box(height, width, share, (int(rng.integers(height)), int(rng.integers(width))))
        mix = share * batch.views[0][:half] + (1 - share) * batch.views[0][-half:]
        cut = cut_mix(batch.views[1][:half], batch.views[1][-half:], box)
        kept = share
        if self.exact_area:
            kept = 1 - (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / (height * width)
        backbone, balanced, instance, project, predict = self.net
        with self.autocast():
            features = backbone(self.prepare(torch.cat([mix, cut])))
            by_class, by_instance = balanced(features), instance(features)
            projections = project(features)
            predictions = predict(projections)
        ours, theirs, a = batch.labels[:half], batch.labels[-half:], cumulative(batch.epoch, self.stage_epochs)
        loss = torch.zeros((), device=self.device)
        for logits, weights, part in (
            (by_instance, torch.ones_like(self.weights), a),
            (by_class, self.weights, 1 - a),
        ):
            for piece, amount in zip(logits.float().chunk(2), (share, kept), strict=True):
                loss = loss + part * self.loss.loss(piece, soft_labels(ours, theirs, amount, weights))
        (p1, p2), (z1, z2) = predictions.float().chunk(2), projections.float().chunk(2)
        loss = loss + self.consistency * (disagreement(p1, z2) + disagreement(p2, z1))
        shown = by_class[:half]
        return loss, torch.cat([shown, shown[2 * half - len(batch.labels) :]])
