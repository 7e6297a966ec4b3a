"""A folder of finished cells as a table; the files are the only state."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.errors import CheckpointError
from ltbench.results.record import CONFIG, HISTORY, RESULT, Result, read_result

if TYPE_CHECKING:
    import pandas as pd


def iter_results(root: Path | str) -> Iterator[Result]:
    """Every finished cell below `root` in path order; a broken folder is reported as a warning and skipped."""
    for folder in _folders(Path(root), RESULT):
        try:
            yield read_result(folder)
        except CheckpointError as error:
            warnings.warn(f"skipped a result: {error}", stacklevel=2)


def load_results(root: Path | str) -> pd.DataFrame:
    """One row per finished cell below `root`: `Result.row` as columns, metrics as fractions."""
    import pandas as pd

    frame = pd.DataFrame(row for row in (_row(result) for result in iter_results(root)) if row)
    if frame.empty:
        return pd.DataFrame({name: [] for name in ("method", "dataset", "protocol", "seed", "hash", "folder")})
    return frame.sort_values(["dataset", "protocol", "method", "seed", "hash"], kind="stable", ignore_index=True)


def status(root: Path | str) -> list[dict[str, Any]]:
    """Every cell folder below `root`: its names from the path, "state" (finished, unfinished, broken), epochs, note."""
    root = Path(root)
    found = []
    for folder in cell_folders(root):
        state, note = "unfinished", "the next run resumes it"
        if (folder / RESULT).exists():
            try:
                read_result(folder)
                state, note = "finished", ""
            except CheckpointError as error:
                state, note = "broken", str(error)
        names = ("", "", "", *folder.relative_to(root).parts)[-4:]
        found.append(
            {
                **dict(zip(("dataset", "method", "protocol", "cell"), names, strict=True)),
                "state": state,
                "epochs": _lines(folder / HISTORY),
                "note": note,
                "folder": str(folder),
            }
        )
    return found


def cell_folders(root: Path) -> list[Path]:
    """Every cell folder at or below `root`, finished or not."""
    return sorted({*_folders(root, RESULT), *_folders(root, CONFIG), *_folders(root, HISTORY)})


def counted(number: int, noun: str) -> str:
    """ "1 cell", "2 cells"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _row(result: Result) -> dict[str, Any] | None:
    try:
        return result.row()
    except (AttributeError, KeyError, TypeError) as error:
        warnings.warn(f"skipped a result: {result.folder / RESULT} is incomplete ({error!r})", stacklevel=3)
        return None


def _folders(root: Path, name: str) -> Iterator[Path]:
    for path, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if name in files:
            yield Path(path)


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
