"""Training images as latents, encoded once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ltbench.interfaces import Context
from ltbench.models.images import resized, to_signed
from ltbench_diffusion.examples import Examples


@torch.no_grad()
def latent_examples(
    moments: Callable[[Tensor], tuple[Tensor, Tensor]],
    images: np.ndarray,
    labels: np.ndarray,
    context: Context,
    *,
    size: int,
    power: float,
    flip: bool,
    targets: Tensor | None = None,
    batch: int = 64,
) -> Examples:
    """Latents of uint8 images (n, H, W, c) at size px, with those of the mirrored images where flip.

    moments: images (B, c, size, size) in [-1, 1] -> mean and sd of their latents, each (B, zc, h, w). targets: as in
    `Examples`, of the images as they are.
    A mirrored latent is no mirrored image.
    """
    means: list[Tensor] = []
    sds: list[Tensor] = []
    for mirrored in (False, True) if flip else (False,):
        for start in range(0, len(images), batch):
            x = to_signed(resized(images[start : start + batch], (size, size)).to(context.device))
            mean, sd = moments(x.flip(3) if mirrored else x)
            means.append(mean.float().cpu())
            sds.append(sd.float().cpu())
    repeated = np.concatenate([labels, labels]) if flip else labels
    if targets is not None and flip:
        targets = torch.cat([targets, targets.flip(3)])
    x, sd = torch.cat(means), torch.cat(sds)
    return Examples(x, repeated, context, power=power, mirror=False, sd=sd, targets=targets)
