"""Named random streams: every draw is keyed by tags, so that nothing depends on what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def seed_of(*tags: str | int) -> int:
    """A 63-bit seed from tags, the same in every process."""
    text = "\x1f".join(f"{type(tag).__name__}:{tag}" for tag in tags)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_stream(*tags: str | int) -> np.random.Generator:
    """A numpy generator keyed by tags."""
    return np.random.default_rng(seed_of(*tags))


def torch_stream(*tags: str | int) -> torch.Generator:
    """A torch generator on the CPU keyed by tags."""
    return torch.Generator().manual_seed(seed_of(*tags))


def seed_global(*tags: str | int) -> None:
    """Set torch's global generators, which dropout and weight initialisation draw from."""
    torch.manual_seed(seed_of(*tags))
