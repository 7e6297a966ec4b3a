"""Reading a store for the report: usable cells with their evidence, and what was skipped with its reason."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.errors import CheckpointError
from ltbench.report.reliability import Bin, reliability
from ltbench.results.record import RESULT, Predictions, Result, read_result
from ltbench.results.rows import age, conditions
from ltbench.results.walk import cell_folders


@dataclass(frozen=True)
class Evidence:
    """What the pages need of the test predictions: calibration bins, which images are right, which images they are.

    right: bool (N,), ordered by image id. images: a digest of the sorted ids and their labels.
    """

    bins: tuple[Bin, ...]
    right: np.ndarray
    images: str


@dataclass(frozen=True)
class Entry:
    """One finished cell: `row` is `Result.row`, `page` its page below the site, `key` what makes it comparable."""

    result: Result
    row: dict[str, Any]
    page: str
    evidence: Evidence

    @property
    def key(self) -> tuple[str, ...]:
        """The conditions under which two cells may stand in one table."""
        return conditions(self.row)


@dataclass(frozen=True)
class Skipped:
    """A folder that is in the store and not in the report."""

    folder: str
    reason: str


def collect(roots: Sequence[Path]) -> tuple[list[Entry], list[Skipped]]:
    """Every finished cell at or below `roots`, by data set, protocol, method and seed, and what was left out."""
    found: dict[str, Entry] = {}
    skipped: list[Skipped] = []
    for folder in dict.fromkeys(folder for root in roots for folder in cell_folders(root)):
        try:
            entry = _entry(folder)
        except CheckpointError as error:
            skipped.append(Skipped(str(folder), str(error)))
            continue
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = (
                f"{folder / RESULT} is incomplete ({type(error).__name__}: {error}); run the cell again with --force"
            )
            skipped.append(Skipped(str(folder), reason))
            continue
        older = found.get(entry.row["hash"])
        if older is not None:
            older, entry = sorted((older, entry), key=lambda e: age(e.row))
            reason = f"the same cell as {entry.result.folder}, which finished last or at the same time"
            skipped.append(Skipped(str(older.result.folder), reason))
        found[entry.row["hash"]] = entry
    entries = sorted(found.values(), key=lambda e: (e.key, e.row["method"], e.row["seed"], e.row["hash"]))
    return list(_named(entries)), skipped


def _entry(folder: Path) -> Entry:
    result = read_result(folder)
    row = result.row()
    for name in ("method", "dataset", "protocol", "hash"):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} is {row[name]!r}")
    if not isinstance(row["seed"], int):
        raise TypeError(f"seed is {row['seed']!r}")
    _check_classes(result)
    predictions = dataclasses.replace(result).predictions  # of a copy, which lets them go again
    return Entry(result, row, "", _evidence(predictions, len(result.metrics["confusion"])))


def _check_classes(result: Result) -> None:
    """The tables of classes fit each other and hold numbers."""
    data = result.data["data"]
    confusion = np.asarray(result.metrics["confusion"], dtype=float)
    classes = len(confusion)
    if confusion.shape != (classes, classes):
        raise ValueError(f"the confusion matrix has shape {confusion.shape}")
    for name in ("per_class_recall", "per_class_precision", "per_class_f1"):
        if np.asarray(result.metrics[name], dtype=float).shape != (classes,):
            raise ValueError(f"{name} does not have {classes} classes")
    for name in ("class_names", "train_counts", "test_counts"):
        if len(data[name]) != classes:
            raise ValueError(f"{name} does not have {classes} classes")


def _evidence(predictions: Predictions, classes: int) -> Evidence:
    probs, y_true = predictions.probs, predictions.y_true
    if probs.shape[1] != classes:
        raise ValueError(f"predictions have shape {probs.shape} for {classes} classes")
    order = np.argsort(predictions.ids, kind="stable")
    right = probs.argmax(axis=1) == y_true
    digest = hashlib.sha256("\x1f".join(predictions.ids[order].tolist()).encode())
    digest.update(y_true[order].astype("<i8").tobytes())
    return Evidence(reliability(probs.max(axis=1), right), right[order], digest.hexdigest()[:16])


def _named(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries with a page each, whose name holds nothing but letters, digits and dashes."""
    taken: set[str] = set()
    for entry in entries:
        row = entry.row
        words = (row["dataset"], row["method"], row["protocol"], f"seed{row['seed']}", row["hash"][:8])
        name = stem = "-".join(slug(word) for word in words)
        while name in taken:
            name = f"{stem}-{len(taken)}"
        taken.add(name)
        yield dataclasses.replace(entry, page=f"cells/{name}.html")


def slug(text: str) -> str:
    """`text` as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "x"
