"""What the tests of the long-tail systems share: the fixtures of the vectors, runs on tiny data, a state's way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltbench.engine import checkpoint
from ltbench.engine.evaluate import Evaluator
from ltbench.engine.run import Run
from ltbench.metrics import classification
from ltbench.testing import tiny_context, tiny_run
from ltbench.testing.tiny import tiny_options

COUNTS = np.array([1000, 200, 50, 5])
Z = torch.tensor(
    [[2.0, 0.5, -1.0, 0.1], [0.3, 1.2, -0.7, 0.0], [1.5, -0.2, 0.4, -0.6], [0.9, 0.8, -0.3, 0.2]], dtype=torch.float64
)
YA = torch.tensor([0, 1, 2, 3])


def rows(*values: Any) -> torch.Tensor:
    """float64 (N, ...)."""
    return torch.tensor(values, dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random unit vectors, float64."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def accuracy(folder: Path, epochs: int = 12, **options: Any) -> tuple[Run, float]:
    """A run on tiny data and its accuracy on the validation part; chance is 1/3."""
    protocol = {"epochs": epochs, **options.pop("protocol", {})}
    run, probs = tiny_run(folder, protocol=protocol, **options)
    return run, classification(run.context.val.labels, probs)["accuracy"]


def returns(run: Run, folder: Path, id: str, **given: Any) -> bool:
    """Whether a fresh classifier of another seed has the run's state and predictions once it loaded the state."""
    checkpoint.save(folder / "state.pt", "test", run.classifier.state_dict())
    context = tiny_context(folder / "again", seed=7, classifier=tiny_options("classifier", id, **given))
    fresh = context.component("classifier")
    fresh.setup(context)
    fresh.start_stage(fresh.stages(context.recipe["protocol"]["epochs"])[-1], context)
    fresh.load_state_dict(checkpoint.load(folder / "state.pt", "test"))
    same = checkpoint.state_digest(fresh.state_dict()) == checkpoint.state_digest(run.classifier.state_dict())
    images = run.context.val.images
    theirs = Evaluator(run.classifier, run.context).predict(images, "val")
    fresh.mean, fresh.std = run.classifier.mean, run.classifier.std
    return same and np.array_equal(Evaluator(fresh, context).predict(images, "val"), theirs)
