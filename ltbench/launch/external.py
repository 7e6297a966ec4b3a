"""`ltbench add-predictions`: a row of a table made by foreign code on the same split, marked external."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

import ltbench
from ltbench.cell import Cell
from ltbench.errors import UserError
from ltbench.launch.local import Job, gather
from ltbench.metrics import classification
from ltbench.results.files import atomic_write, sha256, to_json
from ltbench.results.foreign import matched, read_predictions
from ltbench.results.record import CONFIG, RESULT, SPLITS, Result, write_result

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def add_predictions(
    file: Path | str,
    *,
    dataset: str,
    protocol: str | None,
    method: str,
    seed: int = 0,
    out: Path | str = "runs",
    data_root: Any = None,
    force: bool = False,
) -> Result:
    """Write the cell of predictions that foreign code made for the test part of this data set and protocol.

    Raises UserError for a name that ltbench's own methods have, or for a cell that is there, and DataError for a file
    that does not fit: see `read_predictions` and `matched`.
    """
    if "+" in method:
        raise UserError(
            f"--method {method!r}: names with + are those of ltbench's methods under --set; "
            f"name it {method.replace('+', '-')}"
        )
    if not NAME.fullmatch(method):
        raise UserError(f"--method must be letters, digits and . _ -, got {method!r}")
    if method in ltbench.names("method"):
        raise UserError(
            f"{method!r} is a method of ltbench; give foreign predictions another --method, say {method}-ext"
        )
    job = gather({}, dataset, protocol, seed, {}, data_root, "cpu")
    names, test = job.data.class_names, job.data.test
    probs = matched(read_predictions(file, names), test.ids, test.labels)
    cell = _cell(job, method, seed, sha256(Path(file)))
    folder = cell.folder(Path(out))
    if (folder / RESULT).exists() and not force:
        raise UserError(f"these predictions are already in {folder}; write them again with --force")
    return _write(folder, cell, job, probs)


def _cell(job: Job, method: str, seed: int, digest: str) -> Cell:
    base = job.cell.as_dict()
    return Cell.create(
        method=method,
        dataset=job.cell.dataset,
        protocol=job.cell.protocol,
        seed=seed,
        recipe={
            "external": {"sha256": digest},
            **{section: base["recipe"][section] for section in ("dataset", "protocol")},
            "seed": seed,
        },
        versions={key: value for key, value in base["versions"].items() if key.startswith("dataset:")},
        data=base["data"],
        external=True,
        owns={},
        assumed=False,
        fidelity={},
    )


def _write(folder: Path, cell: Cell, job: Job, probs: np.ndarray) -> Result:
    data, classes = job.data, len(job.data.class_names)
    metrics = classification(data.test.labels, probs, data.train_counts, data.shot_groups)
    warnings = [*metrics.pop("warnings"), *data.warnings]
    record = {
        "ltbench": ltbench.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cell": cell.as_dict(),
        "data": data.facts(),
        "selection": {"split": "unknown"},
        "metrics": {"test": metrics},
        "weights": cell.recipe["protocol"]["weights"],
        "cost": {},
        "environment": {},
        "warnings": sorted({*warnings, "external: training, selection and cost are the word of foreign code"}),
    }
    atomic_write(folder / CONFIG, to_json(cell.recipe))
    atomic_write(folder / SPLITS, json.dumps(data.ids()))
    none = {"val_ids": np.zeros(0, str), "val_y_true": np.zeros(0, int), "val_probs": np.zeros((0, classes))}
    return write_result(folder, record, {"ids": data.test.ids, "y_true": data.test.labels, "probs": probs, **none})
