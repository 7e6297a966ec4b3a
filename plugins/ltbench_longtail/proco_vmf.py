"""Probabilistic contrastive learning: infinitely many contrast pairs of each class in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context, Loss
from ltbench.options import number, whole
from ltbench_longtail.bessel import log_bessel
from ltbench_longtail.parts import BranchedClassifier, PriorCrossEntropy, Projector

SHARPEST = 1e5  # the largest concentration


def concentration(means: Tensor) -> Tensor:
    """kappa = A R / (1 - R^2) of mean vectors (C, A) of length R, (C,); SHARPEST where larger or negative (code)."""
    length = means.norm(dim=1)
    kappa = means.shape[1] * length / (1 - length**2)
    return torch.where((kappa >= 0) & (kappa <= SHARPEST), kappa, SHARPEST)


def joint_length(units: Tensor, means: Tensor, temperature: float) -> Tensor:
    """|kappa_c mu_c + u / tau|, (N, C), for unit vectors (N, A) and class means (C, A) of any length."""
    kappa = concentration(means)
    inner = units @ F.normalize(means, dim=1).T
    square = kappa**2 + 2 * kappa * inner / temperature + temperature**-2
    return square.clamp(min=1e-12).sqrt()


def contrast_logits(units: Tensor, means: Tensor, temperature: float) -> Tensor:
    """g_c(u) = log B(|kappa_c mu_c + u/tau|) - log B(kappa_c), float64 (N, C), of unit vectors (N, A)."""
    units, means = units.double(), means.double()
    dim = means.shape[1]
    return log_bessel(joint_length(units, means, temperature), dim) - log_bessel(concentration(means), dim)


class Estimator(nn.Module):
    """Running mean (C, A) of the unit vectors of each class and their number (C,), float64."""

    mean: Tensor
    seen: Tensor

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(classes, dim, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.float64))

    def restart(self, generator: torch.Generator) -> None:
        """Nothing seen; means in random directions, of length 0.9, which the first vectors of a class replace."""
        directions = torch.randn(self.mean.shape, generator=generator, dtype=torch.float64)
        self.mean.copy_(0.9 * F.normalize(directions, dim=1))
        self.seen.zero_()

    @torch.no_grad()
    def update(self, units: Tensor, labels: Tensor) -> None:
        """Take in vectors (N, A) of labels (N,); a class without any keeps its mean."""
        sums = torch.zeros_like(self.mean).index_add_(0, labels, units.double())
        counts = torch.bincount(labels, minlength=len(self.seen)).double()
        weight = counts / (counts + self.seen).clamp(min=1)
        self.mean.lerp_(sums / counts.clamp(min=1)[:, None], weight[:, None])
        self.seen += counts


class ProCoVMF(BranchedClassifier):
    """ProCo, Du C. et al. 2024: logit-adjusted CE on view 1, contrast with von Mises-Fisher classes on views 2 and 3.

    dim: A, even, width of the unit vectors. hidden: width of the projector's hidden layer. temperature: tau > 0.
    alpha: weight of the contrast. The class head alone predicts.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"temperature": ("log", 0.05, 0.5), "alpha": ("log", 0.1, 10.0)}
    version: ClassVar[int] = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"dim": 32, "hidden": 64}, "base": {}, "paper": {}}
    slots: ClassVar[frozenset[str]] = frozenset()
    views = ("protocol", "strong", "strong")
    loss: PriorCrossEntropy

    def __init__(
        self,
        *,
        dim: int = 128,
        hidden: int = 512,
        temperature: float = 0.1,
        alpha: float = 1.0,
        eval_batch: int = 256,
    ) -> None:
        super().__init__(eval_batch=eval_batch)
        self.dim = whole("classifier.dim", dim, 2)
        if dim % 2:
            raise UserError(f"classifier.dim must be even, got {dim}; take {dim + 1}")
        self.hidden = whole("classifier.hidden", hidden, 1)
        self.temperature = number("classifier.temperature", temperature, ends="()")
        self.alpha = number("classifier.alpha", alpha)

    def build_loss(self, context: Context) -> Loss:
        return PriorCrossEntropy()

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.context = context
        for estimator in self.net[3:]:
            estimator.restart(context.torch_rng("directions"))

    def branches(self, width: int, classes: int) -> list[nn.Module]:
        return [Projector(width, self.hidden, self.dim), *(Estimator(classes, self.dim) for _ in range(2))]

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        backbone, head, project, old, current = self.net
        if batch.step == 0:
            old.load_state_dict(current.state_dict())
            current.restart(self.context.torch_rng("directions"))
        with self.autocast():
            first, *others = backbone(self.prepare(torch.cat(batch.views))).chunk(3)
            logits = head(first)
            units = project(torch.cat(others)).chunk(2)
        loss = self.loss.loss(logits.float(), batch.labels)
        for u in units:
            old.update(u, batch.labels)
            current.update(u, batch.labels)
            near = contrast_logits(u, old.mean, self.temperature)
            loss = loss + self.alpha / 2 * self.loss.loss(near, batch.labels).float()
        return loss, logits
