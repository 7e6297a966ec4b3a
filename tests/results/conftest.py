"""A maker of small finished cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.cell import cell_hash
from ltbench.metrics import classification
from ltbench.results import Result, write_result
from ltbench.results.files import atomic_write, to_json

COUNTS = [200, 60, 30, 5]


def make_cell(root: Path, method: str = "ce", seed: int = 0, **changes: Any) -> Result:
    """Write one cell; changes: dataset, protocol, skill, n, ids, imbalance, tuning (trials), and entries.

    Entries are those of `cell`, `data` or the `record` itself.
    """
    given = {"dataset": "digits-lt", "protocol": "quick", "skill": 1.0, "n": 120, "imbalance": 20, **changes}
    tuning = {"tuning": {"trials": given["tuning"], "seed": 1000}} if "tuning" in given else {}
    n = given["n"]
    y = np.random.default_rng(0).integers(0, 4, n)
    logits = np.random.default_rng([seed, *method.encode()]).normal(size=(n, 4))
    logits[np.arange(n), y] += given["skill"]
    probs = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    metrics = classification(y, probs, np.array(COUNTS))
    ids = np.array(given.get("ids", [f"image-{k}" for k in range(n)]))
    cell = {
        "method": method,
        "dataset": given["dataset"],
        "protocol": given["protocol"],
        "seed": seed,
        "recipe": {
            "dataset": {"name": given["dataset"], "imbalance": given["imbalance"]},
            "loss": {"name": method},
            "seed": seed,
            **tuning,
        },
        "versions": {"loss:ce": 1},
        "data": "content",
        "fidelity": {},
        "owns": {},
        "assumed": False,
        "standard": True,
        **given.get("cell", {}),
    }
    cell["hash"] = cell_hash(cell)
    data = {
        "ltbench": "0.1.0",
        "finished": given.get("finished", "2026-01-01T00:00:00"),
        "cell": cell,
        "data": {
            "content": "content",
            "sizes": {"train": 295, "val": n, "test": n},
            "class_names": ["zero", "one", "two", "three"],
            "train_counts": COUNTS,
            "val_counts": np.bincount(y, minlength=4),
            "test_counts": np.bincount(y, minlength=4),
            "split": {"scheme": "stratified", "seed": 0},
            "validation_is_test": False,
            "notes": [],
            **given.get("data", {}),
        },
        "selection": {"split": "val", "metric": "macro_f1", "stage": "train", "epoch": 3, "score": metrics["macro_f1"]},
        "metrics": {"test": metrics, "val": metrics, "generation": {"fd[ref]": 1.5, "n": 59.0}},
        "weights": "none",
        "cost": {
            "phases": {"train": {"seconds": 20.0, "device_seconds": 20.0, "cached": False}},
            "total_seconds": 30.0,
            "peak_memory_bytes": 1000,
            "images_per_second": 100.0,
        },
        "environment": {"device": "cpu"},
        "warnings": [],
        **given.get("record", {}),
    }
    folder = Path(root, given["dataset"], method, given["protocol"], f"seed{seed}-{cell['hash'][:8]}")
    atomic_write(folder / "history.jsonl", "".join(f'{{"epoch": {k}, "loss": null}}\n' for k in range(3)))
    atomic_write(folder / "config.json", to_json(cell))
    parts = {"train": ["t"], "val": [f"val-{i}" for i in ids], "test": ids, **given.get("splits", {})}
    atomic_write(folder / "splits.json", to_json(parts))
    part = {"ids": ids, "y_true": y, "probs": probs}
    return write_result(
        folder, data, {**part, **{f"val_{key}": value for key, value in part.items()}, "val_ids": parts["val"]}
    )


@pytest.fixture
def cell(tmp_path: Path):
    """make(method="ce", seed=0, **changes) -> Result below tmp_path."""
    return lambda *args, **changes: make_cell(tmp_path, *args, **changes)


@pytest.fixture
def store(tmp_path, cell):
    for seed in range(3):
        cell("ce", seed, skill=0.8)
        cell("iois", seed, skill=2.0)
    cell("sqrt", 0, skill=1.2)
    return tmp_path
