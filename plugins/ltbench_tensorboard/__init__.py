"""A tracker: every cell as a run of TensorBoard, below the folder that LTBENCH_TENSORBOARD names; off without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ltbench

VARIABLE = "LTBENCH_TENSORBOARD"


def folder() -> Path | None:
    """Where runs are written, or None."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


@ltbench.hookimpl
def ltbench_cell_started(cell: Any) -> None:
    """Begin a run; a resumed cell goes on in its own."""
    if folder() is not None:
        from ltbench_tensorboard import tracker

        tracker.begin(cell)


@ltbench.hookimpl
def ltbench_epoch_finished(cell: Any, log: dict[str, Any]) -> None:
    """The epoch's numbers."""
    root = folder()
    if root is not None:
        from ltbench_tensorboard import tracker

        tracker.epoch(root, cell, log)


@ltbench.hookimpl
def ltbench_cell_finished(cell: Any, result: Any) -> None:
    """The test metrics beside the recipe."""
    root = folder()
    if root is not None:
        from ltbench_tensorboard import tracker

        tracker.finish(root, cell, result)
