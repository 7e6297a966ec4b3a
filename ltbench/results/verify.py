"""Does a stored result prove itself: files unchanged, metrics equal to its predictions, hash equal to its recipe."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.errors import LtbenchError, UserError
from ltbench.metrics import classification
from ltbench.results.pack import changed_files, unpack
from ltbench.results.record import DIGEST, PREDICTIONS, RESULT, SPLITS, Result, own_digest, read_result
from ltbench.results.store import counted
from ltbench.results.walk import cell_folders

TOLERANCE = 1e-6
SELECTION_TOLERANCE = 0.02  # the score was measured in training, where a GPU may round differently


def verify(folder: Path | str) -> list[str]:
    """Problems of the cell in `folder`, each naming the file; [] for a result that holds."""
    folder = Path(folder)
    try:
        result = read_result(folder)
    except LtbenchError as error:
        return [str(error)]
    problems = [*changed_files(result), *_identity(result)]
    try:
        return problems + _metrics(result) + _splits(result)
    except (LtbenchError, KeyError, TypeError, ValueError) as error:
        return [*problems, f"{folder / PREDICTIONS}: metrics cannot be recomputed: {error}"]


def verify_all(path: Path | str) -> dict[str, list[str]]:
    """Problems of every cell at or below a folder, or in an archive made by `pack`, by the cell's path.

    Raises UserError where there is no such path, no cell below it, or a file that is no archive.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no {path}; name a cell's folder, a folder of cells or an archive of ltbench pack")
    if not path.is_file():
        found = {str(folder): verify(folder) for folder in cell_folders(path)}
    else:
        with tempfile.TemporaryDirectory() as scratch:
            unpack(path, Path(scratch))
            found = {
                str(folder).replace(scratch, str(path)): [text.replace(scratch, str(path)) for text in verify(folder)]
                for folder in cell_folders(Path(scratch))
            }
    if not found:
        raise UserError(f"{path} holds no cell, finished or not; see: ltbench status --out FOLDER")
    return found


def _identity(result: Result) -> list[str]:
    from ltbench.cell import cell_hash

    cell, path = result.cell, result.folder / RESULT
    try:
        recomputed = cell_hash(cell)
    except KeyError as error:
        return [f"{path}: the cell lacks {error}, its hash cannot be recomputed"]
    problems, raw = [], json.loads(path.read_text())
    if DIGEST not in raw:
        problems.append(f"{path} has no checksum of its own: its cost, selection and warnings cannot be proven")
    elif raw[DIGEST] != own_digest(raw):
        problems.append(f"{path} was changed after the run: its own checksum is not the recorded one")
    if recomputed != cell.get("hash"):
        problems.append(f"{path}: the cell hash is {cell.get('hash')}, its recipe gives {recomputed}")
    spent = (cell["recipe"].get("tuning") or {}).get("seconds")
    charged = ((result.data.get("cost") or {}).get("phases") or {}).get("tuning", {}).get("seconds")
    if spent != charged:
        problems.append(f"{path}: tuning took {spent} s, {charged} s are charged as its cost")
    name = f"seed{cell.get('seed')}-{str(cell.get('hash'))[:8]}"
    if result.folder.resolve().name != name:
        problems.append(f"{result.folder} should be called {name} after its cell")
    return problems


def _metrics(result: Result) -> list[str]:
    stored, data, predictions = result.data["metrics"], result.data["data"], result.predictions
    counts, groups = data.get("train_counts") or None, data.get("shot_groups")
    parts = {
        "test": (predictions.ids, predictions.y_true, predictions.probs),
        "val": (predictions.val_ids, predictions.val_y_true, predictions.val_probs),
    }
    problems = []
    if result.external and not len(predictions.val_ids):
        parts.pop("val")  # foreign code need not predict it
    for part, (ids, y_true, probs) in parts.items():
        where = f"{result.folder / RESULT}: {part}"
        if len(np.unique(ids)) != len(ids):
            problems.append(f"{result.folder / PREDICTIONS}: an image appears twice in the {part} part")
        size = data.get("sizes", {}).get(part, len(ids))
        if size != len(ids):
            problems.append(f"{where} part has {counted(size, 'image')}, {PREDICTIONS} holds {len(ids)}")
        recounted = np.bincount(y_true[y_true >= 0], minlength=probs.shape[1]).tolist()
        if data.get(f"{part}_counts") not in (None, [], recounted):
            problems.append(f"{where} class counts are {data[f'{part}_counts']}, {PREDICTIONS} holds {recounted}")
        if not stored.get(part):
            continue
        computed = classification(y_true, probs, counts, groups)
        for key, value in computed.items():
            if key in stored[part] and key != "warnings" and not _equal(stored[part][key], value):
                problems.append(f"{where} {key} is {stored[part][key]}, {PREDICTIONS} gives {value}")
    return problems + _selection(result, stored.get("val") or {})


def _selection(result: Result, val: Mapping[str, Any]) -> list[str]:
    chosen = result.data.get("selection") or {}
    key, score = str(chosen.get("metric")), chosen.get("score")
    if chosen.get("split") != "val" or key not in val or score is None or math.isnan(score):
        return []
    if math.isclose(score, val[key], abs_tol=SELECTION_TOLERANCE):
        return []
    return [f"{result.folder / RESULT}: selected at {key} {score}, the validation predictions give {val[key]}"]


def _splits(result: Result) -> list[str]:
    """The tested images are those of the split, and no image of another part is among them."""
    path = result.folder / SPLITS
    if not path.is_file():
        return []
    try:
        ids = {part: set(map(str, json.loads(path.read_text())[part])) for part in ("train", "val", "test")}
    except (ValueError, KeyError, TypeError) as error:
        return [f"{path} is corrupt: {error!r}"]
    stored = {"test": result.predictions.ids, "val": result.predictions.val_ids}
    problems = [
        f"{path}: the {part} part is not the images of {PREDICTIONS}"
        for part, found in stored.items()
        if set(found.tolist()) != ids[part] and (part == "test" or len(found) or not result.external)
    ]
    leaks = {"train": ids["train"] & ids["test"], "val": ids["val"] & ids["test"]}
    if result.data["data"].get("validation_is_test"):
        leaks.pop("val")
    return problems + [f"{path}: test and {part} share {counted(len(x), 'image')}" for part, x in leaks.items() if x]


def _equal(stored: Any, computed: Any, tolerance: float = TOLERANCE) -> bool:
    if isinstance(stored, list) and isinstance(computed, list):
        return len(stored) == len(computed) and all(map(_equal, stored, computed))
    if not isinstance(stored, int | float) or not isinstance(computed, int | float):
        return bool(stored == computed)
    if math.isnan(stored) or math.isnan(computed):
        return math.isnan(stored) and math.isnan(computed)
    return math.isclose(stored, computed, rel_tol=tolerance, abs_tol=tolerance)
