"""Finished cells as one archive, the same bytes for the same cells."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import warnings
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from ltbench.errors import LtbenchError, UserError
from ltbench.results.files import atomic_write, sha256
from ltbench.results.record import FILES, RESULT, Result
from ltbench.results.store import iter_results

MIB = 1 << 20
BLOCK = 512


def pack(root: Path | str, out: Path | str, *, part_size: float | None = None) -> list[Path]:
    """Write the finished cells below `root` without weights as a tar (gzip where `out` ends in .gz or .tgz).

    part_size: largest size of a file in MiB; more cells go into OUT-2.tar, OUT-3.tar ... and a cell is never cut.
    Returns the files. A cell whose files are not those of its run is packed with a warning. Raises UserError when there
    is nothing to pack or a cell alone is over the size.
    """
    root, out, cells = Path(root), Path(out), []
    for result in iter_results(root):
        for problem in changed_files(result):
            warnings.warn(f"{problem}; packed as it is, and ltbench verify will say so", stacklevel=2)
        cells.append(_members(root, result.folder))
    if not cells:
        raise UserError(f"no finished cell below {root}; run one first, or see: ltbench status --out {root}")
    parts = _parts(cells, None if part_size is None else int(part_size * MIB))
    paths = [out if index == 1 else _numbered(out, index) for index in range(1, len(parts) + 1)]
    for path in paths:
        if path.is_file() and not tarfile.is_tarfile(path):
            raise UserError(f"{path} is there and is no archive; name another file with --out")
    for path, members in zip(paths, parts, strict=True):
        atomic_write(path, lambda file, members=members, path=path: _write(file, members, path))  # type: ignore[misc]
    return paths


def changed_files(result: Result) -> list[str]:
    """Files of a cell that are missing, changed or new since the run, each with what is wrong."""
    recorded = result.data.get("files") or {}
    problems = [f"{result.folder / RESULT} records no checksums"] if not recorded else []
    for name, digest in recorded.items():
        path = result.folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif sha256(path) != digest:
            problems.append(f"{path} was changed after the run: its checksum is not the recorded one")
    extra = [name for name in FILES if name not in recorded and (result.folder / name).is_file()]
    return problems + [f"{result.folder / name} appeared after the run" for name in extra if recorded]


def kind(path: Path) -> str:
    """What `pack` writes under this name."""
    return "tar, gzipped" if path.suffix in (".gz", ".tgz") else "tar"


def unpack(path: Path, folder: Path) -> None:
    """Write the cells of an archive made by `pack` below `folder`; UserError for any other file."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name, content = PurePosixPath(member.name), archive.extractfile(member) if member.isreg() else None
                if content is None or name.is_absolute() or ".." in name.parts or name.name not in (RESULT, *FILES):
                    raise UserError(f"{path} holds {member.name!r}, which ltbench pack never writes; nothing was read")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        why = str(error).split(":\n")[0]
        raise UserError(
            f"{path} cannot be read as an archive made by ltbench pack ({why}); name such an archive or a folder"
        ) from error


def _members(root: Path, folder: Path) -> list[tuple[str, Path]]:
    files = [folder / name for name in (RESULT, *FILES) if (folder / name).is_file()]
    return [(path.relative_to(root).as_posix(), path) for path in files]


def _parts(cells: list[list[tuple[str, Path]]], limit: int | None) -> list[list[tuple[str, Path]]]:
    parts: list[list[tuple[str, Path]]] = [[]]
    used = 0
    for members in cells:
        # Per file a header of one block, perhaps three more for a long name, and padding; two records end the file.
        size = sum(4 * BLOCK + -(-path.stat().st_size // BLOCK) * BLOCK for _, path in members)
        if limit is not None and size + 2 * tarfile.RECORDSIZE > limit:
            raise UserError(
                f"{members[0][1].parent} needs {size / MIB:.1f} MiB, more than the part size; raise --part-size"
            )
        if limit is not None and parts[-1] and used + size + 2 * tarfile.RECORDSIZE > limit:
            parts.append([])
            used = 0
        parts[-1].extend(members)
        used += size
    return parts


def _numbered(out: Path, index: int) -> Path:
    stem, dot, suffix = out.name.partition(".")
    return out.with_name(f"{stem}-{index}{dot}{suffix}")


def _write(file: IO[bytes], members: list[tuple[str, Path]], path: Path) -> None:
    if kind(path) == "tar":
        return _tar(file, members)
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        _tar(packed, members)


def _tar(file: IO[bytes] | gzip.GzipFile, members: list[tuple[str, Path]]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in members:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise LtbenchError(f"cannot read {path}: {error.strerror}; check the folder and pack again") from error
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
