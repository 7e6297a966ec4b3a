"""Where data and caches live."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_root(arg: str | Path | None = None) -> Path:
    """The folder of data sets: `arg`, else $LTBENCH_DATA, else the user's cache folder."""
    chosen = arg or os.environ.get("LTBENCH_DATA") or Path(platformdirs.user_cache_dir("ltbench")) / "data"
    return Path(chosen).expanduser()


def cache_root() -> Path:
    """The folder of decoded tables and fits: $LTBENCH_CACHE, else the user's cache folder."""
    return Path(os.environ.get("LTBENCH_CACHE") or platformdirs.user_cache_dir("ltbench")).expanduser()
