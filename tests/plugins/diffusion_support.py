"""Fits on tiny data for the tests of the diffusion generators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ltbench_diffusion.training import DiffusionTraining

import ltbench.engine.fits
from ltbench.testing import tiny_context

torch.set_num_threads(1)
SMALL: dict[str, Any] = {
    "train_steps": 4,
    "train_batch": 8,
    "widths": [8, 8],
    "attention": 0,
    "steps": 3,
    "max_size": 16,
    "warmup": 1,
    "ema": 0.9,
}


def fitted(folder: Path, name: str, *, context: Any = None, **options: Any) -> Any:
    """A generator fitted on `tiny_context(folder)`."""
    context = context or tiny_context(folder)
    return context.fit_generator({"name": name, **SMALL, **options})


def draw(generator: Any, counts: Any = (3, 0, 4), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a seeded draw."""
    images, labels = generator.sample(np.array(counts), guide=None, rng=np.random.default_rng(seed))
    return images, labels


def fit_with_a_kill(folder: Path, name: str, monkeypatch: Any, after: int = 2, **options: Any) -> Any:
    """The same fit, killed in its step number `after` and taken up again from the checkpoint before."""
    monkeypatch.setattr(ltbench.engine.fits, "SAVE_EVERY", -1.0)
    real, done = DiffusionTraining.step, []

    def killed(self: Any, *args: Any) -> None:
        done.append(1)
        if len(done) == after + 1:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(DiffusionTraining, "step", killed)
    try:
        fitted(folder, name, **options)
    except KeyboardInterrupt:
        return fitted(folder, name, **options)
    raise AssertionError("the fit was never killed")
