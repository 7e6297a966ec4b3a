"""Files that appear whole or not at all, and JSON that carries nan."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ltbench.errors import DiskFull, LtbenchError

FULL = (errno.ENOSPC, errno.EDQUOT)
PLAIN = (float, int, str, bool)  # of these there are many, and nothing to replace in them
Content = bytes | str | Callable[[IO[bytes]], None]


def atomic_write(path: Path | str, content: Content) -> None:
    """Write bytes, text or what `content(file)` writes to `path` by rename, so that no reader sees a part of it.

    Raises LtbenchError naming the path and the fix when the disk is full or the folder cannot be written to; no
    partial file stays behind.
    """
    path = Path(path)
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o666 & ~_umask())
        Path(partial).replace(path)
    except BaseException as error:
        if partial:
            Path(partial).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def write_error(path: Path | str, error: OSError) -> LtbenchError:
    """What failed and how to go on, as DiskFull where space or quota is used up."""
    kind = DiskFull if error.errno in FULL else LtbenchError
    return kind(f"cannot write {path}: {error.strerror or error}; {_fix(error)}")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def to_json(data: Any) -> str:
    """Standard JSON of nested data with numpy values; nan and infinities become null."""
    return json.dumps(_plain(data), indent=1, allow_nan=False) + "\n"


def null_to_nan(data: Any) -> Any:
    """Nested data with null replaced by nan."""
    if isinstance(data, dict):
        return {key: value if type(value) in PLAIN else null_to_nan(value) for key, value in data.items()}
    if isinstance(data, list):
        return [value if type(value) in PLAIN else null_to_nan(value) for value in data]
    return math.nan if data is None else data


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(value) for value in (sorted(data) if isinstance(data, set | frozenset) else data)]
    if hasattr(data, "tolist"):  # numpy scalars and arrays
        return _plain(data.tolist())
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    return str(data) if isinstance(data, Path) else data


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fix(error: OSError) -> str:
    if error.errno in FULL:
        return "free some space or choose another folder with --out, then run the same command again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "make the folder writable or choose another one with --out"
    return "choose another folder with --out"
