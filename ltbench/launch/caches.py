"""What the caches hold: decoded image tables and finished fits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ltbench.data.roots import cache_root

PARTS = ("fits", "tables", "features")


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def entries() -> list[dict[str, Any]]:
    """One row per cached fit, and one for all tables."""
    rows = []
    for folder in sorted((cache_root() / "fits").glob("*")):
        info = folder / "info.json"
        facts = json.loads(info.read_text()) if info.exists() else {"phase": "unfinished", "seconds": None}
        row = {"kind": "fit", "what": facts["phase"], "id": folder.name[:8], "seconds": facts["seconds"]}
        rows.append({**row, "MB": _size(folder) / 1e6})
    tables = cache_root() / "tables"
    if tables.is_dir():
        rows.append({"kind": "tables", "what": f"{len(list(tables.glob('*.npy')))} decoded", "MB": _size(tables) / 1e6})
    features = cache_root() / "features"
    if features.is_dir():
        stored = len(list(features.glob("*.npy")))
        rows.append({"kind": "features", "what": f"{stored} sets of real images", "MB": _size(features) / 1e6})
    return rows


def clean() -> int:
    """Remove everything; returns the bytes freed."""
    freed = sum(_size(cache_root() / part) for part in PARTS)
    for part in PARTS:
        shutil.rmtree(cache_root() / part, ignore_errors=True)
    return freed
