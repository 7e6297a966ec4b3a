"""What a diffusion model learns from, in memory on the device, and the loop that learns from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltbench.interfaces import Context
from ltbench.models.drawing import TrainingRows
from ltbench.models.images import to_signed
from ltbench_diffusion.training import DiffusionTraining


class Examples:
    """x (n, c, h, w), uint8 pixels or float latents, with labels int64 (n,), drawn with P(k) ~ n_k^power.

    mirror: half of the drawn inputs are mirrored. sd, shaped as x: normal noise of this spread is drawn anew with every
    batch, as the posterior of an autoencoder asks. targets uint8 (n, c, h, w), pictures that go with x and are mirrored
    with it. DataError for a class without an image.
    """

    def __init__(
        self,
        x: Tensor,
        labels: np.ndarray,
        context: Context,
        *,
        power: float,
        mirror: bool,
        sd: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> None:
        self.x, self.labels = x.to(context.device), torch.as_tensor(labels).to(context.device)
        self.rows = TrainingRows(labels, context.task.class_names, power)
        self.sd = None if sd is None else sd.to(context.device)
        self.targets = None if targets is None else targets.to(context.device)
        self.null, self.mirror = context.task.num_classes, mirror

    def batch(self, n: int, p_uncond: float = 0.0) -> tuple[Tensor, ...]:
        """x0 float (n, c, h, w), pixels in [-1, 1], labels (n,), each the null label K with p_uncond; targets in [0, 1]
        where there are some."""
        picked = self.rows.rows(n).to(self.x.device)
        x0 = self.x[picked]
        x0 = to_signed(x0) if x0.dtype == torch.uint8 else x0.float()
        if self.sd is not None:
            x0 = x0 + self.sd[picked] * torch.randn_like(x0)
        extra = [] if self.targets is None else [self.targets[picked].float() / 255]
        if self.mirror:
            turned = torch.rand(n, 1, 1, 1, device=x0.device) < 0.5
            x0, *extra = (torch.where(turned, x.flip(3), x) for x in (x0, *extra))
        null = torch.rand(n, device=x0.device) < p_uncond
        return x0, self.labels[picked].masked_fill(null, self.null), *extra


def learn(
    training: DiffusionTraining,
    examples: Examples,
    context: Context,
    *,
    name: str,
    batch: int,
    key: dict[str, Any],
    p_uncond: float = 0.0,
) -> Any:
    """Run the cached phase `name`, keyed by `key`, and give the trained network, frozen."""
    for step in context.steps(name, training.total, training, options=key):
        if training.stopped < 0:
            x0, labels, *targets = examples.batch(batch, p_uncond)
            training.step(x0, labels, step, context.autocast(), *targets)
    return training.finish()
