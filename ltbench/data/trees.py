"""Files by name, in a folder or in a ZIP archive."""

from __future__ import annotations

import threading
import zipfile
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from ltbench.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


class Tree(ABC):
    """A set of files: `names` are relative, with forward slashes."""

    path: Path

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """All file names, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file; OSError or DataError if that fails."""

    @abstractmethod
    def stamp(self, name: str) -> str:
        """A short text that changes when the file does."""

    @cached_property
    def names_set(self) -> frozenset[str]:
        """The names, for look-up."""
        return frozenset(self.names)

    def images(self) -> list[str]:
        """Names of the image files, hidden ones left out."""
        return [n for n in self.names if Path(n).suffix.lower() in IMAGE_SUFFIXES and not _hidden(n)]

    def text(self, name: str) -> str:
        """A file as text."""
        return self.read(name).decode("utf-8-sig")


class FolderTree(Tree):
    """The files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        found = (p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())
        return tuple(sorted(found))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def stamp(self, name: str) -> str:
        stat = (self.path / name).stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"


class ZipTree(Tree):
    """The files of a ZIP archive; reading is safe from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._infos = {info.filename: info for info in self._archive().infolist() if not info.is_dir()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._infos))

    def _archive(self) -> zipfile.ZipFile:
        if not hasattr(self._local, "archive"):
            try:
                self._local.archive = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile as error:
                raise DataError(
                    f"{self.path} is not a complete ZIP archive ({error}); delete it and fetch or import it again"
                ) from error
        archive: zipfile.ZipFile = self._local.archive
        return archive

    def read(self, name: str) -> bytes:
        return self._archive().read(name)

    def stamp(self, name: str) -> str:
        return f"{self._infos[name].file_size}-{self._infos[name].CRC:08x}"


class MergedTree(Tree):
    """A folder together with the contents of the ZIP files in it, each below the name of its archive."""

    def __init__(self, path: Path, archives: list[Path]) -> None:
        self.path = path
        self._trees = {f"{archive.stem}/": ZipTree(archive) for archive in archives}
        self._folder = FolderTree(path)

    @cached_property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        inside = [prefix + name for prefix, tree in self._trees.items() for name in tree.names]
        return tuple(sorted({*self._folder.names, *inside}))

    def _at(self, name: str) -> tuple[Tree, str]:
        for prefix, tree in self._trees.items():
            if name.startswith(prefix) and name[len(prefix) :] in tree.names_set:
                return tree, name[len(prefix) :]
        return self._folder, name

    def read(self, name: str) -> bytes:
        tree, inner = self._at(name)
        return tree.read(inner)

    def stamp(self, name: str) -> str:
        tree, inner = self._at(name)
        return tree.stamp(inner)


def open_tree(path: Path) -> Tree:
    """A tree of a folder (with the ZIP files in it) or of a ZIP file; DataError if it is neither."""
    if path.is_dir():
        archives = sorted(p for p in path.glob("*.zip") if p.name != "images.zip")
        packed = not archives or (path / "labels.csv").is_file()
        return FolderTree(path) if packed else MergedTree(path, archives)
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipTree(path)
    what = "does not exist" if not path.exists() else "is neither a folder nor a ZIP archive"
    raise DataError(f"{path} {what}; give the folder or ZIP file of the images")


def _hidden(name: str) -> bool:
    return any(piece.startswith(".") or piece == "__MACOSX" for piece in name.split("/"))
