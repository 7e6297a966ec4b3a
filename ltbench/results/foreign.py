"""Predictions of foreign code: a CSV or npz file, checked against the images and classes it must be about."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltbench.errors import DataError
from ltbench.metrics.classification import SUM_TOLERANCE

ID, LABEL = "id", "label"
NAMED = 3  # ids in an error


@dataclass(frozen=True)
class Foreign:
    """What a file claims: ids str (n,), probs float64 (n, C), labels int64 (n,) or None."""

    path: Path
    ids: np.ndarray
    probs: np.ndarray
    labels: np.ndarray | None


def read_predictions(path: Path | str, classes: Sequence[str]) -> Foreign:
    """Read a CSV (columns id and one per class by name, perhaps label) or an npz (ids, probs, perhaps y_true).

    An npz has its columns in the order of the classes. Raises DataError for a file that is neither and wrong classes.
    """
    path = Path(path)
    try:
        return _npz(path, classes) if path.suffix == ".npz" else _csv(path, classes)
    except FileNotFoundError:
        raise DataError(f"there is no {path}; name a CSV or npz file of predictions") from None
    except DataError:
        raise
    except Exception as error:  # numpy raises nearly anything on damaged files
        raise DataError(
            f"{path} cannot be read as predictions ({error}); it needs a CSV with the columns {ID}, "
            f"{', '.join(classes)}, or an npz with ids (n,) and probs (n, {len(classes)})"
        ) from error


def matched(found: Foreign, ids: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Probabilities float32 (N, C) in the order of the test images `ids` (N,), whose labels are y_true (N,).

    Raises DataError for missing, extra and repeated images, rows that are no probabilities, and other labels.
    """
    name, n = found.path, len(ids)
    unique, first, times = np.unique(found.ids, return_index=True, return_counts=True)
    if (times > 1).any():
        raise DataError(f"{name} holds {_some(unique[times > 1])} more than once; give each test image one row")
    missing, extra = np.setdiff1d(ids, unique), np.setdiff1d(unique, ids)
    if len(missing):
        fix = "predict all of them"
        if len(extra):
            fix = f"it holds {_some(extra)}; use the ids of the data set, or name the protocol whose split was used"
        raise DataError(f"{name} lacks {len(missing)} of the {n} test images: {_some(missing)}; {fix}")
    if len(extra):
        raise DataError(
            f"{name} holds {len(extra)} images that are not in the test part: {_some(extra)}; "
            "remove them, or name the protocol whose split was used"
        )
    bad = np.flatnonzero(
        ~np.isfinite(found.probs).all(axis=1)
        | (found.probs < 0).any(axis=1)
        | ~(np.abs(found.probs.sum(axis=1) - 1) <= SUM_TOLERANCE)
    )
    if len(bad):
        row = found.probs[bad[0]]
        raise DataError(
            f"{name}: {len(bad)} rows are no probabilities, first {found.ids[bad[0]]}: {row.tolist()} with sum "
            f"{row.sum():.6g}; rows must be >= 0 and sum to 1, so apply softmax to logits"
        )
    order = first[np.searchsorted(unique, ids)]
    if found.labels is not None and (found.labels[order] != y_true).any():
        wrong = ids[found.labels[order] != y_true]
        raise DataError(
            f"{name}: {len(wrong)} labels are not those of the data set: {_some(wrong)}; other data or class order?"
        )
    probs = found.probs[order]
    return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)


def _csv(path: Path, classes: Sequence[str]) -> Foreign:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        columns, rows = list(reader.fieldnames or []), list(reader)
    if ID not in columns:
        raise ValueError(f"no column {ID!r} among {', '.join(columns[:8])}")
    given = [name for name in columns if name not in (ID, LABEL)]
    _same_classes(path, given, classes)
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has more or fewer fields than the header")
    probs = np.array([[float(row[name]) for name in classes] for row in rows]).reshape(-1, len(classes))
    labels = None
    if LABEL in columns:
        number = {str(k): k for k in range(len(classes))} | {name: k for k, name in enumerate(classes)}
        unknown = sorted({row[LABEL] for row in rows} - set(number))
        if unknown:
            raise DataError(f"{path}: the label {unknown[0]!r} is no class; classes are {', '.join(classes)}")
        labels = np.array([number[row[LABEL]] for row in rows], dtype=np.int64)
    return Foreign(path, np.array([row[ID] for row in rows], dtype=str), probs, labels)


def _npz(path: Path, classes: Sequence[str]) -> Foreign:
    with np.load(path, allow_pickle=False) as stored:
        ids, probs = stored["ids"].astype(str), stored["probs"].astype(np.float64)
        labels = stored["y_true"].astype(np.int64) if "y_true" in stored.files else None
        if "class_names" in stored.files:
            given = stored["class_names"].astype(str).tolist()
            _same_classes(path, given, classes)
            probs = probs[:, [given.index(name) for name in classes]]
    if probs.ndim != 2 or probs.shape[1] != len(classes):
        raise DataError(
            f"{path}: probs have shape {probs.shape}, the data set has {len(classes)} classes: {', '.join(classes)}"
        )
    if ids.shape != (len(probs),) or (labels is not None and labels.shape != ids.shape):
        raise ValueError(f"ids {ids.shape}, probs {probs.shape} and y_true do not have one length")
    return Foreign(path, ids, probs, labels)


def _same_classes(path: Path, given: Sequence[str], classes: Sequence[str]) -> None:
    missing, extra = sorted(set(classes) - set(given)), sorted(set(given) - set(classes))
    if missing or extra or len(given) != len(classes):
        raise DataError(
            f"{path} has the wrong classes: missing {', '.join(missing) or 'none'}, unknown "
            f"{', '.join(extra) or 'none'}; the data set has {', '.join(classes)}"
        )


def _some(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
