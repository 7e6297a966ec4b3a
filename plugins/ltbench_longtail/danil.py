"""Distractor-aware neuron intrinsic learning (Gong et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context
from ltbench.models.standard import StandardClassifier
from ltbench_longtail.maps import last_map, map_shape


def distractors(logits: Tensor, labels: Tensor) -> Tensor:
    """The most probable wrong class of each sample, int64 (B,), of logits (B, C)."""
    return logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)


def distraction(logits: Tensor, labels: Tensor, at: Tensor, eps: float) -> Tensor:
    """Mean of 1 / (|G_y - G_k|^2 + eps), a scalar; G_c is the gradient by `at` (B, ...) of the cross-entropy for c.

    The two differ by the logit term alone, so G_y - G_k = d(z_k - z_y)/d(at), one backward pass for the batch.
    """
    wrong = logits.gather(1, distractors(logits, labels)[:, None])
    margin = wrong - logits.gather(1, labels[:, None])
    (gap,) = torch.autograd.grad(margin.sum(), at, create_graph=True)
    return (1 / (gap.flatten(1).square().sum(1) + eps)).mean()


class Danil(StandardClassifier):
    """loss + weight * `distraction` at the last convolutional map; the formula is ours, no release and no paper has it.

    Under mean pooling and a linear head the term is a margin between class vectors and trains the head alone.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"weight": ("log", 0.01, 1.0)}

    def __init__(self, *, weight: float = 0.1, eps: float = 1e-2, eval_batch: int = 256) -> None:
        if not weight >= 0 or not eps > 0:
            raise UserError(f"classifier.weight must be >= 0 and eps > 0, got {weight} and {eps}")
        super().__init__(eval_batch=eval_batch)
        self.weight, self.eps = weight, eps

    def build(self, context: Context) -> nn.Module:
        net = super().build(context)
        name = context.recipe["protocol"]["backbone"]
        map_shape(net[0], self.channels_in, context.task.image_shape[0], "danil", name)  # type: ignore[index]
        return net

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        backbone, head = self.net.children()
        with self.autocast():
            found = last_map(backbone, self.prepare(batch.images))
            logits = head(backbone.forward_head(found, pre_logits=True)).float()  # type: ignore[operator]
        term = distraction(logits, batch.labels, found, self.eps)
        return self.loss.loss(logits, batch.labels) + self.weight * term, logits
