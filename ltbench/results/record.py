"""The record of a finished cell: a folder with result.json, written last, and the predictions that prove it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from ltbench.errors import CheckpointError, ContractError
from ltbench.results.files import atomic_write, null_to_nan, sha256, to_json

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
RESULT, PREDICTIONS, HISTORY, CONFIG, SPLITS = (
    "result.json",
    "predictions.npz",
    "history.jsonl",
    "config.json",
    "splits.json",
)
LOCK, HOLDER = "lock", "lock.pid"  # held while a process works on the cell; who that is
DIGEST = "digest"  # of the record itself
AGAIN = "run the cell again with --force"
FILES = (PREDICTIONS, HISTORY, CONFIG, SPLITS, "samples.png", "synthetic.csv")
COLUMNS = ("ids", "y_true", "probs", "val_ids", "val_y_true", "val_probs")
PARTS = ("", "val_")  # of the columns: test and validation


@dataclass(frozen=True)
class Predictions:
    """Test and validation predictions: ids str (N,), y_true int64 (N,), probs float32 (N, C)."""

    ids: np.ndarray
    y_true: np.ndarray
    probs: np.ndarray
    val_ids: np.ndarray
    val_y_true: np.ndarray
    val_probs: np.ndarray


@dataclass(frozen=True)
class Result:
    """A finished cell in `folder`; `data` is the content of result.json with nan for null in the metrics."""

    folder: Path
    data: dict[str, Any]

    @property
    def cell(self) -> dict[str, Any]:
        """What was run: method, dataset, protocol, seed, hash, the resolved recipe and its provenance."""
        return self.data["cell"]

    @property
    def external(self) -> bool:
        """Whether foreign code made the predictions."""
        return bool(self.cell.get("external", False))

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of the test part."""
        return self.data["metrics"]["test"]

    @cached_property
    def predictions(self) -> Predictions:
        """The stored predictions, read on first use; CheckpointError when they are missing, unreadable or torn."""
        import numpy as np

        path = self.folder / PREDICTIONS
        try:
            with np.load(path, allow_pickle=False) as stored:
                columns = {name: stored[name] for name in COLUMNS}
            for part in PARTS:
                _check(part, *(columns[part + name] for name in COLUMNS[:3]))
            return Predictions(**columns)
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing; {AGAIN}") from None
        except Exception as error:  # numpy raises nearly anything on damaged files
            raise CheckpointError(f"{path} cannot be read ({error}); {AGAIN}") from error

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dict per epoch, [] where no history was kept."""
        path = self.folder / HISTORY
        try:
            lines = path.read_text().splitlines() if path.exists() else []
            return [null_to_nan(json.loads(line)) for line in lines if line.strip()]
        except ValueError as error:
            raise CheckpointError(f"{path} is corrupt ({error}); {AGAIN}") from error

    def row(self) -> dict[str, Any]:
        """One flat row of plain values: the cell, its conditions, scalar test metrics, generation.*, val.* and cost."""
        cell, data, recipe = self.cell, self.data["data"], self.cell.get("recipe", {})
        cost, selection = self.data.get("cost", {}), self.data.get("selection", {})
        phases = cost.get("phases", {}).values()
        metrics = self.data["metrics"]
        split = data.get("split", {})
        options = recipe.get("dataset") if isinstance(recipe.get("dataset"), dict) else {}
        counts = data.get("train_counts") or [0]
        return {
            **{key: cell.get(key) for key in ("method", "dataset", "protocol", "seed", "hash")},
            "assumed": bool(cell.get("assumed", False)),
            "external": self.external,
            "standard": bool(cell.get("standard", True)),
            "owns": json.dumps(cell.get("owns", {}), sort_keys=True),
            "weights": self.data.get("weights", "none"),
            "content": data.get("content", ""),
            "split_scheme": split.get("scheme", ""),
            "split_seed": split.get("seed", 0),
            "imbalance": (options or {}).get("imbalance"),
            "tuning": _budget(recipe.get("tuning")),
            "train_ratio": max(counts) / min(counts) if min(counts) else float("nan"),
            "smallest_val_class": min(data.get("val_counts") or [0]),
            "validation_is_test": bool(data.get("validation_is_test", False)),
            **{f"n_{part}": size for part, size in data.get("sizes", {}).items()},
            **_scalars(metrics.get("test", {})),
            **_scalars(metrics.get("val", {}), "val."),
            **_scalars(metrics.get("generation", {}) or {}, "generation."),
            "selected_epoch": selection.get("epoch"),
            "seconds": cost.get("total_seconds"),
            "device_seconds": sum(p.get("device_seconds") or 0.0 for p in phases) if phases else float("nan"),
            "peak_memory_bytes": cost.get("peak_memory_bytes"),
            "images_per_second": cost.get("images_per_second"),
            "device": self.data.get("environment", {}).get("device"),
            "versions": sum(v for v in (cell.get("versions") or {}).values() if isinstance(v, int)),
            "finished": self.data.get("finished"),
            "warnings": len(self.data.get("warnings", [])),
            "folder": str(self.folder),
        }


def write_result(folder: Path | str, data: Mapping[str, Any], predictions: Mapping[str, np.ndarray]) -> Result:
    """Write predictions.npz, then result.json with the checksums of all files of the cell, and its own, as `digest`.

    predictions: ids (N,), y_true (N,), probs (N, C) of the test part and the same with `val_` of the validation part.
    """
    import numpy as np

    folder = Path(folder)
    columns: Any = _checked_columns(predictions)
    atomic_write(folder / PREDICTIONS, lambda file: np.savez_compressed(file, **columns))
    checksums = {name: sha256(folder / name) for name in FILES if (folder / name).is_file()}
    record = {"schema": SCHEMA, **data, "files": checksums}
    atomic_write(folder / RESULT, to_json({**record, DIGEST: own_digest(record)}))
    return read_result(folder)


def torn(folder: Path) -> str:
    """What is wrong with predictions that are cut short, "" where their end is there; nothing else of them is read."""
    path = folder / PREDICTIONS
    return "" if is_zipfile(path) else f"{path} is cut short or unreadable; {AGAIN}"


def own_digest(record: Mapping[str, Any]) -> str:
    """sha256 of a record's text without its digest."""
    return hashlib.sha256(to_json({key: value for key, value in record.items() if key != DIGEST}).encode()).hexdigest()


def read_result(folder: Path | str) -> Result:
    """The finished cell in `folder`; CheckpointError for what is unfinished, corrupt, foreign or of a newer schema."""
    folder = Path(folder)
    path = folder / RESULT
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder} holds no {RESULT}: the cell is unfinished; run it again to resume") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is corrupt ({error}); {AGAIN}") from error
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise CheckpointError(f"{path} was not written by ltbench (no schema number); move it out of the results")
    if data["schema"] > SCHEMA:
        raise CheckpointError(f"{path} has schema {data['schema']}, this ltbench reads up to {SCHEMA}; upgrade ltbench")
    missing = [key for key in ("cell", "data", "metrics") if not isinstance(data.get(key), dict)]
    if missing or not isinstance(data["metrics"].get("test"), dict):
        raise CheckpointError(f"{path} lacks {missing or ['metrics.test']}; {AGAIN}")
    if not (folder / PREDICTIONS).is_file():
        raise CheckpointError(f"{folder / PREDICTIONS} is missing; {AGAIN}")
    data["metrics"] = null_to_nan(data["metrics"])
    if "selection" in data:
        data["selection"] = {**data["selection"], "score": null_to_nan(data["selection"].get("score"))}
    return Result(folder, data)


def _budget(tuning: Mapping[str, Any] | None) -> str:
    """ "8 trials a method (seed 1000)", or an empty string for untuned options."""
    return f"{tuning['trials']} trials a method (seed {tuning['seed']})" if tuning else ""


def _scalars(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    return {prefix + key: float(value) for key, value in numbers.items()}


def _checked_columns(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import numpy as np

    columns: dict[str, np.ndarray] = {}
    for part in PARTS:
        try:
            ids, y_true, probs = (np.asarray(predictions[part + name]) for name in ("ids", "y_true", "probs"))
        except KeyError as error:
            raise ContractError(f"predictions lack {error}; they need {', '.join(COLUMNS)}") from None
        try:
            _check(part, ids, y_true, probs)
        except ValueError as error:
            raise ContractError(f"predictions: {error}") from None
        columns |= {
            f"{part}ids": ids.astype(str),
            f"{part}y_true": y_true.astype(np.int64),
            f"{part}probs": probs.astype(np.float32),
        }
    return columns


def _check(part: str, ids: np.ndarray, y_true: np.ndarray, probs: np.ndarray) -> None:
    if probs.ndim != 2 or not ids.shape == y_true.shape == (len(probs),):
        raise ValueError(f"{part}ids {ids.shape}, y_true {y_true.shape} and probs {probs.shape} differ")
    odd = y_true[(y_true < 0) | (y_true >= probs.shape[1])]
    if len(odd):
        raise ValueError(f"{part}y_true holds {odd[0]}, which is none of {probs.shape[1]} classes")
    if not (abs(probs) < float("inf")).all():
        raise ValueError(f"{part}probs are not all finite")
