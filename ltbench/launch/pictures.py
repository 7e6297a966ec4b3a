"""A folder of synthetic images: its files, their classes, and the images at the size of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ltbench.data.decode import decode_all
from ltbench.data.trees import FolderTree
from ltbench.errors import DataError, UserError
from ltbench.launch.generate import class_folders

GREY = ("L", "1", "LA", "I", "F", "I;16")


@dataclass(frozen=True)
class Pictures:
    """images uint8 (n, size, size, c) of files (n,); labels int64 (n,), -1 without class folders; notes on changes."""

    files: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    notes: tuple[str, ...]


def read_pictures(folder: Path, names: tuple[str, ...], size: int, channels: int) -> Pictures:
    """Images of class folders, called as the classes or 0..C-1, or of one flat folder.

    UserError or DataError for a folder without images, a mixture of both forms, unknown classes, grey images where
    the data set has colours or the reverse, fewer than 2 images, files that are no images.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one with images, or with class folders of images")
    tree = FolderTree(folder)
    files = tuple(tree.images())
    if len(files) < 2:
        found = "no image" if not files else "1 image"
        raise DataError(f"{folder} holds {found}; a measure needs at least 2 (.png, .jpg, .tif, .webp, .bmp)")
    labels = _labels(files, names, folder)
    sizes, notes = _facts(folder, files, channels), []
    if len(sizes) > 1:
        few = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:3])
        notes.append(f"images of {len(sizes)} sizes ({few}, ...) were all resized to {size} px")
    elif sizes != {(size, size)}:
        ((width, height),) = sizes
        notes.append(f"images of {width}x{height} px were resized to {size} px, the size of the training images")
    decoded = decode_all(tree, files, size, channels, "synthetic images", "delete these files, or make them again")
    return Pictures(files, decoded.images, labels, (*notes, *decoded.warnings))


def _labels(files: tuple[str, ...], names: tuple[str, ...], folder: Path) -> np.ndarray:
    known = {str(k): k for k in range(len(names))}
    known |= {form: k for k, form in enumerate(class_folders(names))} | {name: k for k, name in enumerate(names)}
    heads = [name.split("/")[0] if "/" in name else "" for name in files]
    if set(heads) == {""}:
        return np.full(len(files), -1, dtype=np.int64)
    if "" in heads:
        raise DataError(
            f"{folder} holds {heads.count('')} images beside its class folders, first {files[heads.index('')]}; "
            "move them into a class folder, or give a flat folder"
        )
    unknown = sorted(set(heads) - set(known))
    if unknown:
        raise DataError(
            f"{folder} has folders that are no classes of the data set: {', '.join(unknown[:5])}; "
            f"the classes are {', '.join(names[:12])}"
        )
    return np.array([known[head] for head in heads], dtype=np.int64)


def _facts(folder: Path, files: tuple[str, ...], channels: int) -> set[tuple[int, int]]:
    """The sizes (w, h) that occur; DataError where grey and colour disagree with the data set."""
    sizes, wrong = set(), []
    for name in files:
        try:
            with Image.open(folder / name) as picture:
                sizes.add(picture.size)
                if (picture.mode in GREY) != (channels == 1):
                    wrong.append(f"{name} ({picture.mode})")
        except (OSError, ValueError):
            continue  # decoding names it
    if wrong:
        kinds = ("grey", "colour") if channels == 1 else ("colour", "grey")
        raise DataError(
            f"the data set is {kinds[0]}, {len(wrong)} of {len(files)} images in {folder} are {kinds[1]}, first "
            f"{wrong[0]}; convert them, or measure against the data set that they were made from"
        )
    return sizes
