"""Scaled latents of images: encoded once where they fit into memory."""

from __future__ import annotations

import numpy as np
import torch
from ltbench_diffusion.autoencoder import Autoencoder
from torch import Tensor

from ltbench.interfaces import Context, ImagePool
from ltbench.models.images import resized, to_signed

BUDGET = 2 << 30  # bytes of latent means and deviations kept in memory; beyond, images are encoded as they are drawn
CHUNK = 256


class Latents:
    """Posterior draws of the scaled latents of a pool of images; random numbers from torch's global generator."""

    def __init__(self, pool: ImagePool, coder: Autoencoder, size: int, context: Context, budget: int = BUDGET) -> None:
        self.pool, self.coder, self.size, self.device = pool, coder, size, context.device
        self.kept: tuple[Tensor, Tensor] | None = None
        if 8 * len(pool) * int(np.prod(coder.shape)) <= budget:
            self.kept = self._encode_all()

    def take(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw for each row, (n, zc, h, w) on the device; generator in place of the global one."""
        kept = self.kept
        mean, sd = self._encode(rows.numpy()) if kept is None else (p[rows].to(self.device) for p in kept)
        return mean + sd * torch.randn(mean.shape, generator=generator).to(self.device)

    def batch(self, n: int) -> Tensor:
        """n draws of random rows, (n, zc, h, w) on the device."""
        return self.take(torch.randint(0, len(self.pool), (n,)))

    @torch.no_grad()
    def _encode(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        images = resized(self.pool.take(rows), (self.size, self.size)).to(self.device)
        return self.coder.moments(to_signed(images))

    def _encode_all(self) -> tuple[Tensor, Tensor]:
        starts = range(0, len(self.pool), CHUNK)
        parts = [self._encode(np.arange(start, min(start + CHUNK, len(self.pool)))) for start in starts]
        return torch.cat([mean.cpu() for mean, _ in parts]), torch.cat([sd.cpu() for _, sd in parts])
