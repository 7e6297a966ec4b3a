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
    encode: Callable[[Tensor], Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    context: Context,
    *,
    size: int,
    power: float,
    flip: bool,
    batch: int = 64,
) -> Examples:
    """Latents of uint8 images (n, H, W, c) at size px, with those of the mirrored images where flip.

    encode: images (B, c, size, size) in [-1, 1] -> latents (B, zc, h, w). A mirrored latent is no mirrored image.
    """
    parts: list[Tensor] = []
    for mirrored in (False, True) if flip else (False,):
        for start in range(0, len(images), batch):
            x = to_signed(resized(images[start : start + batch], (size, size)).to(context.device))
            parts.append(encode(x.flip(3) if mirrored else x).float().cpu())
    repeated = np.concatenate([labels, labels]) if flip else labels
    return Examples(torch.cat(parts), repeated, context, power=power, mirror=False)
