"""One trial of tuning: a training whose test part is sealed, scored on validation, kept as a small record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltbench.errors import CheckpointError, NonFinite, TestIsSealed
from ltbench.launch.local import Job, Report, open_context
from ltbench.results.files import atomic_write, to_json

TRIAL, FORMAT = "trial.json", "ltbench-trial-1"


class Sealed:
    """Stands where the test part was: whatever is asked of it raises TestIsSealed."""

    def __getattr__(self, name: str) -> Any:
        raise TestIsSealed(f"a trial of tuning asked for {name!r} of the test part, which tuning must not see")


def read_trial(folder: Path, job: Job) -> dict[str, Any] | None:
    """The record of a finished trial, or None; CheckpointError where it is damaged or another trial's."""
    path = folder / TRIAL
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        if record["format"] == FORMAT and record["cell"] == job.cell.hash:
            return record
        reason = "it is of another trial or format"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = repr(error)
    raise CheckpointError(f"the trial {path} is damaged ({reason}); remove it to train it again")


def train_trial(job: Job, folder: Path, options: Mapping[str, Any], device: str, report: Report) -> dict[str, Any]:
    """Train a planned trial, resuming from its checkpoint, and write its record; score None where it diverged."""
    from ltbench.engine.run import Run

    sealed: Any = Sealed()
    context = open_context(replace(job, data=replace(job.data, test=sealed)), folder, device, report)
    chosen: dict[str, Any] = {}
    try:
        chosen = Run(context, job.cell.hash, lambda epoch, line: None).train()
        error = None if math.isfinite(chosen["score"]) else f"the validation score became {chosen['score']}"
    except NonFinite as raised:
        error = str(raised)
    record = {
        "format": FORMAT,
        "cell": job.cell.hash,
        "options": dict(options),
        "score": None if error else chosen["score"],
        "stage": chosen.get("stage"),
        "epoch": chosen.get("epoch"),
        "phases": context.cost.phases,
        "fits": context.fits,
        "error": error,
    }
    atomic_write(folder / TRIAL, to_json(record))
    return json.loads((folder / TRIAL).read_text())


def clear(folder: Path) -> None:
    """Remove what a finished trial no longer needs, also where it was killed between its record and this."""
    for name in ("checkpoint.pt", "best.pt"):
        (folder / name).unlink(missing_ok=True)


def seconds(record: Mapping[str, Any]) -> float:
    """What a trial took without its fits, which are shared with others."""
    return sum(phase["seconds"] for name, phase in record["phases"].items() if not name.startswith("fit "))


def total_seconds(records: list[dict[str, Any]], best: int) -> float:
    """What all trials took: each fit once, and not those of the best, which the tuned cell is charged with itself."""
    fits = {
        record["fits"][name.removeprefix("fit ")]: phase["seconds"]
        for record in records
        for name, phase in record["phases"].items()
        if name.startswith("fit ")
    }
    own = set(records[best]["fits"].values())
    return sum(map(seconds, records)) + sum(value for fit, value in fits.items() if fit not in own)
