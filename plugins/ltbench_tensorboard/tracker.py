"""Writing event files: one folder a cell, scalars of every epoch, test metrics and the recipe at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltbench.errors import UserError

NOT_SCALARS = ("step", "epoch", "stage")
open_writers: dict[str, Any] = {}  # by the cell's hash


def begin(cell: Any) -> None:
    """Forget what a former attempt in this process left open."""
    _close(cell)


def epoch(root: Path, cell: Any, log: Mapping[str, Any]) -> None:
    """Every number of the epoch's line, at the step counted over all stages."""
    writer = _writer(root, cell, log["step"])
    for name, value in _numbers(log).items():
        if name not in NOT_SCALARS:
            writer.add_scalar(name, value, log["step"])
    writer.flush()


def finish(root: Path, cell: Any, result: Any) -> None:
    """test/METRIC at step 0, the recipe as hparams; the run is closed."""
    from torch.utils.tensorboard.summary import hparams

    writer, metrics = _writer(root, cell), {f"test/{k}": v for k, v in _numbers(result.metrics).items()}
    for name, value in metrics.items():
        writer.add_scalar(name, value, 0)
    chosen = {"method": cell.method, "dataset": cell.dataset, **_flat(cell.recipe)}
    for summary in hparams(chosen, metrics):
        writer.file_writer.add_summary(summary)
    _close(cell)


def _writer(root: Path, cell: Any, step: int | None = None) -> Any:
    """The open writer of a cell; a new one makes readers drop what an earlier attempt wrote at `step` and later."""
    if cell.hash not in open_writers:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(f"TensorBoard is not installed ({error}); pip install 'ltbench[tensorboard]'") from error
        open_writers[cell.hash] = SummaryWriter(str(cell.folder(root)), purge_step=step)
    return open_writers[cell.hash]


def _close(cell: Any) -> None:
    if cell.hash in open_writers:
        open_writers.pop(cell.hash).close()


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values."""
    plain = {k: v for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {key: float(value) for key, value in plain.items() if math.isfinite(value)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys to numbers, truth values and texts, which are what hparams takes."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
