"""Decoded images on disk, memory-mapped, keyed by what they were decoded from."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from uuid import uuid4

import numpy as np
from filelock import FileLock

from ltbench.data.decode import decode_all
from ltbench.data.roots import cache_root
from ltbench.data.trees import Tree
from ltbench.errors import DataError

DECODER = 1  # raised when the same file would decode to other pixels


class DataWarning(UserWarning):
    """Something about the data that belongs into the warnings of a result."""


def decoded(tree: Tree, names: tuple[str, ...], size: int, channels: int, label: str) -> tuple[np.ndarray, str]:
    """Images uint8 (N, size, size, channels), read-only, and a hash of file contents and size.

    Decoded once for all processes; a corrupt entry is rebuilt; without a writable cache folder they stay in memory.
    """
    key = _key(tree, names, size, channels)
    folder = cache_root() / "tables"
    entry = folder / f"{label}-{size}-{key[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{entry}.lock"):
            found = _load(entry, key)
            if found is None:
                found = _build(tree, names, size, channels, label, key, entry)
    except OSError as error:
        _warn(f"cannot cache decoded images in {folder} ({error.strerror or error}); set LTBENCH_CACHE elsewhere")
        found = _build(tree, names, size, channels, label, key, None)
    images, content, remarks = found
    for remark in remarks:
        _warn(f"{label}: {remark}")
    return images, content


def _key(tree: Tree, names: tuple[str, ...], size: int, channels: int) -> str:
    digest = hashlib.sha256(f"{DECODER} {size} {channels}".encode())
    for name in names:
        try:
            digest.update(f"{name}\0{tree.stamp(name)}\n".encode())
        except OSError as error:
            raise DataError(f"cannot read {tree.path / name}: {error.strerror}; check its permissions") from error
    return digest.hexdigest()


Entry = tuple[np.ndarray, str, tuple[str, ...]]


def _load(entry: Path, key: str) -> Entry | None:
    """What is stored, or None if it is absent, foreign or damaged."""
    try:
        facts = json.loads(entry.with_suffix(".json").read_text())
        with entry.with_suffix(".npy").open("rb") as stream:
            intact = hashlib.file_digest(stream, "sha256").hexdigest() == facts["sha256"]
        if not intact or facts["key"] != key:
            raise ValueError("checksum")
        images = np.load(entry.with_suffix(".npy"), mmap_mode="r")
        return images, facts["content"], tuple(facts["warnings"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, EOFError):
        _warn(f"cache entry {entry.name} was damaged and is built again")
        return None


def _build(
    tree: Tree, names: tuple[str, ...], size: int, channels: int, label: str, key: str, entry: Path | None
) -> Entry:
    result = decode_all(tree, names, size, channels, label)
    images = result.images
    digest = hashlib.sha256(f"{DECODER} {size} {channels}".encode())
    for name, crc in zip(names, result.crcs, strict=True):
        digest.update(f"{Path(name).name}\0{crc:08x}\n".encode())
    content = digest.hexdigest()
    images.setflags(write=False)
    if entry is not None:
        facts: dict[str, object] = {"key": key, "content": content, "shape": images.shape, "warnings": result.warnings}
        images = _store(entry, images, facts)
    return images, content, result.warnings


def _store(entry: Path, images: np.ndarray, facts: dict[str, object]) -> np.ndarray:
    """Write by atomic rename, the sidecar last, and map it; on a full disk keep the array in memory."""
    scratch = entry.with_name(f"{entry.name}.{uuid4().hex[:8]}.tmp")
    try:
        with scratch.open("wb") as stream:
            np.save(stream, images)
        with scratch.open("rb") as stream:
            facts["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
        scratch.replace(entry.with_suffix(".npy"))
        scratch.write_text(json.dumps(facts))
        scratch.replace(entry.with_suffix(".json"))
        mapped: np.ndarray = np.load(entry.with_suffix(".npy"), mmap_mode="r")
        return mapped
    except OSError as error:
        scratch.unlink(missing_ok=True)
        _warn(f"cannot store decoded images in {entry.parent} ({error.strerror or error}); set LTBENCH_CACHE elsewhere")
        return images


def _warn(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=3)
