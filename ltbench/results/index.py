"""A disposable index of the rows of a folder of cells: one sqlite file, published whole by rename, never needed.

Whoever finds cells that it lacks adds them to a copy in memory and puts that in its place. So a reader takes no lock
and sees no half-written state, network folders are no special case, and of two writers the last one wins: what it
did not know is found missing by the next reader. A corrupt or older index is built anew.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ltbench.errors import LtbenchError
from ltbench.results import record
from ltbench.results.files import atomic_write
from ltbench.results.walk import Stamp

NAME = ".ltbench-index.sqlite"
LEAST = 200  # cells; reading fewer is quick enough without an index
OWN = ("@folder", "@mtime_ns", "@size", "@predictions")  # no column of a row begins with @
# What sqlite has no value for is a blob, which no row holds; NULL says that a row lacks the column.
BLOBS: dict[bytes, Any] = {b"none": None, b"nan": math.nan, b"true": True, b"false": False}
LACKS: Any = object()
FAILURES = (sqlite3.Error, OSError, KeyError, ValueError, LtbenchError)

Rows = dict[str, tuple[Stamp, dict[str, Any]]]


class Index:
    """The index of the folder `root`, beside its cells where that can be written, else in the user's cache folder."""

    def __init__(self, root: Path) -> None:
        self.path = place(root)

    def read(self, columns: Collection[str] | None = None) -> Rows:
        """Stamp and row, of all or these columns, by the folder below the root; {} without a usable index."""
        if not self.path.is_file():
            return {}
        try:
            uri = f"file:{quote(str(self.path.absolute()))}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as database:
                return _rows(database, columns) if _version(database) == version() else {}
        except FAILURES:
            return {}

    def update(self, changed: Rows, gone: Iterable[str]) -> None:
        """Write these rows and forget the folders that are gone; a failure leaves the index as it was."""
        try:
            with closing(self._copy() or _new()) as database:
                database.executemany(f"DELETE FROM cells WHERE {_names(OWN[:1])} = ?", [(folder,) for folder in gone])
                _insert(database, changed)
                database.commit()
                atomic_write(self.path, database.serialize())
        except FAILURES:
            return

    def _copy(self) -> sqlite3.Connection | None:
        """The file in memory, None where it cannot be used."""
        database = sqlite3.connect(":memory:")
        try:
            database.deserialize(self.path.read_bytes() or b"empty")
            database.execute(f"SELECT {_names(OWN)} FROM cells LIMIT 1")
            sound = database.execute("PRAGMA quick_check").fetchone() == ("ok",)
            if sound and _version(database) == version():
                return database
        except FAILURES:
            pass
        database.close()
        return None


def place(root: Path) -> Path:
    """Where the index of a folder of cells lies."""
    if os.access(root, os.W_OK):
        return root / NAME
    from ltbench.data.roots import cache_root

    key = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_root() / "indexes" / f"{key}.sqlite"


@cache
def version() -> int:
    """A number of the code that makes rows of records: another version of it cannot use the index."""
    return zlib.crc32(Path(record.__file__).read_bytes()) & 0x7FFFFFFF


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _new() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute(f"CREATE TABLE cells ({_names(OWN)}, PRIMARY KEY ({_names(OWN[:1])}))")
    database.execute(f"PRAGMA user_version = {version()}")
    return database


def _rows(database: sqlite3.Connection, wanted: Collection[str] | None) -> Rows:
    known = _columns(database)
    names = [name for name in known if wanted is None or name in wanted]
    cells = database.execute(f"SELECT {_names([*OWN, *names])} FROM cells").fetchall()
    folders, mtimes, sizes, predictions, *columns = [_loaded(v) for v in zip(*cells, strict=True)] or ((), (), (), ())
    rows: Iterable[dict[str, Any]] = (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    if any(LACKS in values for values in columns):
        rows = ({name: value for name, value in row.items() if value is not LACKS} for row in rows)
    stamps = zip(mtimes, sizes, predictions, strict=True)
    return dict(zip(folders, zip(stamps, rows, strict=True), strict=True))


def _loaded(values: tuple[Any, ...]) -> Sequence[Any]:
    """A column as it was stored; most hold plain values alone, and are looked at by type, once."""
    if {bytes, type(None)}.isdisjoint(map(type, values)):
        return values
    return [BLOBS[v] if type(v) is bytes else LACKS if v is None else v for v in values]


def _columns(database: sqlite3.Connection) -> list[str]:
    return [name for _, name, *_ in database.execute("PRAGMA table_info(cells)") if name not in OWN]


def _insert(database: sqlite3.Connection, changed: Rows) -> None:
    alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for folder, (stamp, row) in changed.items():
        with suppress(ValueError):  # an odd cell is read from its own file each time
            alike.setdefault(tuple(row), []).append((folder, *stamp, *map(_stored, row.values())))
    known = _columns(database)
    for name in dict.fromkeys(name for names in alike for name in names):
        if name not in known:
            database.execute(f"ALTER TABLE cells ADD COLUMN {_names([name])}")  # no type, so values stay what they are
    for names, rows in alike.items():
        marks = ", ".join("?" * (len(OWN) + len(names)))
        database.executemany(f"INSERT OR REPLACE INTO cells ({_names([*OWN, *names])}) VALUES ({marks})", rows)


def _stored(value: Any) -> Any:
    """The value as sqlite takes it; ValueError for what it would not give back."""
    if value is None or isinstance(value, bool):
        return str(value).lower().encode()
    if isinstance(value, float):
        return b"nan" if math.isnan(value) else value
    if isinstance(value, str):
        value.encode()
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    raise ValueError(f"{value!r} is no value of an index")


def _names(names: Iterable[str]) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)
