"""HistoDiffusion: latent diffusion pre-trained without labels, guided by a noise-aware classifier."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the generator and its methods."""
