"""Copies of measured cells, changed where a test needs it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[2] / "leaderboards" / "measured"
HOSTILE = {
    "method": "<script>window.pwned = 1</script>\"' onclick=x",
    "dataset": '"><img src=x onerror="window.pwned = 2">&amp;',
    "class": "</script><script>window.pwned = 3</script>'\"",
}


def measured(dataset: str, method: str, seed: int = 0) -> Path:
    """A cell of the committed leaderboards."""
    return sorted((MEASURED / dataset / method / "quick").glob(f"seed{seed}-*"))[0]


def copy(source: Path, root: Path, change: Callable[[dict[str, Any]], None] = lambda record: None) -> Path:
    """A copy of a cell below `root` under a hash of its own, `change` applied to its record."""
    record = json.loads((source / "result.json").read_text())
    change(record)
    cell = record["cell"]
    name = json.dumps([cell["dataset"], cell["method"], cell["protocol"], cell["seed"], record["finished"]])
    cell["hash"] = hashlib.sha256(name.encode()).hexdigest()
    folder = root / cell["hash"][:12]
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in ("result.json", "lock"):
            shutil.copyfile(path, folder / path.name)
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def hostile(record: dict[str, Any]) -> None:
    """Markup in every name that a plugin can choose."""
    record["cell"] |= {"method": HOSTILE["method"], "dataset": HOSTILE["dataset"], "protocol": "<b>quick"}
    record["data"]["class_names"][0] = HOSTILE["class"]
    record["warnings"] = ["<i>warned</i>"]
    record["cell"]["recipe"]["loss"] = {"name": HOSTILE["class"]}
    record["environment"]["device"] = "<u>cpu</u>"
    record["metrics"]["test"]["<b>mine</b>"] = 0.5
