"""A folder of finished cells as rows or as a table; the files are the only state."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ltbench.errors import CheckpointError
from ltbench.results.record import HISTORY, HOLDER, LOCK, RESULT, Result, read_result, torn
from ltbench.results.walk import cell_folders, finished

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
KEYS = ("dataset", "protocol", "method", "seed", "hash")


def iter_results(root: Path | str) -> Iterator[Result]:
    """Every finished cell below `root` in path order; a broken folder is reported as a warning and skipped."""
    for folder in finished(root):
        try:
            yield read_result(Path(root, folder))
        except CheckpointError as error:
            warnings.warn(f"skipped a result: {error}", stacklevel=2)


def load_rows(root: Path | str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """`Result.row` of every finished cell below `root`, by data set, protocol, method and seed.

    Broken cells are reported as warnings and skipped. Rows of large folders come from an index, which is brought up to
    date; with `columns` they hold these alone, and all of them where no cell has one of the columns.
    """
    from ltbench.results.index import LEAST, Index

    root = Path(root)
    found = finished(root)
    index = Index(root) if len(found) >= LEAST else None
    with _uncollected():
        known = index.read(columns and {*KEYS, *columns}) if index else {}
    if known and columns and not all(any(name in row for _, row in known.values()) for name in columns):
        return load_rows(root)
    rows, fresh = {}, {}
    for folder, stamp in found.items():
        entry = known.get(folder)
        if entry and entry[0] == stamp:
            rows[folder] = entry[1]
        elif row := usable(root / folder, _row):
            rows[folder] = row
            fresh[folder] = stamp, {name: value for name, value in row.items() if name != "folder"}
    gone = [folder for folder in known if folder not in rows]
    if index and (fresh or gone):
        index.update(fresh, gone)
    below = "" if str(root) == "." else f"{root}/"
    for folder, row in rows.items():
        row["folder"] = below + folder if folder else str(root)
    return sorted(rows.values(), key=itemgetter(*KEYS))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which ten thousand rows would start again and again and none of them is for."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_results(root: Path | str) -> pd.DataFrame:
    """One row per finished cell below `root`: `Result.row` as columns, metrics as fractions."""
    import pandas as pd

    return pd.DataFrame(load_rows(root) or {name: [] for name in (*KEYS, "folder")})


def status(root: Path | str) -> list[dict[str, Any]]:
    """Every cell folder below `root`: its names from the path, "state", epochs, note.

    state: finished, torn (finished, but its predictions are cut short), running (a process holds its lock), unfinished
    or broken.
    """
    root = Path(root)
    found = []
    for folder in cell_folders(root):
        state, note = "unfinished", "the next run resumes it"
        if (folder / RESULT).exists():
            try:
                read_result(folder)
                note = torn(folder)
                state = "torn" if note else "finished"
            except CheckpointError as error:
                state, note = "broken", str(error)
        elif _held(folder):
            state, note = "running", f"process {_text(folder / HOLDER)}"
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


def counted(number: int, noun: str) -> str:
    """ "1 cell", "2 cells"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def usable(folder: Path | str, read: Callable[[Result], T]) -> T | None:
    """What `read` makes of a record; None, with a warning, of one that is broken or lacks what it needs."""
    try:
        return read(read_result(folder))
    except CheckpointError as error:
        warnings.warn(f"skipped a result: {error}", stacklevel=3)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        warnings.warn(f"skipped a result: {Path(folder, RESULT)} is incomplete ({error!r})", stacklevel=3)
    return None


def _row(result: Result) -> dict[str, Any]:
    row = result.row()
    if damage := torn(result.folder):
        raise CheckpointError(damage)
    for key in KEYS:
        if not isinstance(row[key], int if key == "seed" else str):
            raise TypeError(f"{key} is {row[key]!r}")
    return row


def _held(folder: Path) -> bool:
    """Whether a process works on the cell; a lock outlives no process."""
    if not (folder / LOCK).is_file():
        return False
    import filelock

    try:
        with filelock.FileLock(folder / LOCK, timeout=0):
            return False
    except filelock.Timeout:
        return True
    except OSError:  # of a folder that cannot be written nothing is known
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return "unknown"


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
