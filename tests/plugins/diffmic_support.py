"""What the tests of DiffMIC share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import ltbench
from ltbench.testing.tiny import tiny_options, tiny_run

SMALL: dict[str, Any] = {"image_size": 8, "stored_size": 8}


def tiny(folder: Path, **options: Any) -> Any:
    return tiny_run(folder, classifier=tiny_options("classifier", "diffmic", **options))


def fresh(spec: Any, context: Any) -> Any:
    """A classifier after its setup, not trained."""
    torch.manual_seed(0)
    classifier = ltbench.build("classifier", spec)
    classifier.setup(context)
    return classifier
