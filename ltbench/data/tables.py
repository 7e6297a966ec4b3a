"""From a listing of files to an image table."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ltbench.data.cache import DataWarning, decoded
from ltbench.data.layouts import Listing
from ltbench.errors import DataError
from ltbench.interfaces.dataset import Dataset, ImageTable


class FolderFacts(Protocol):
    """What a data set of image files knows of itself; aliases: the publisher's class name -> ours."""

    name: str
    classes: tuple[str, ...]
    channels: int
    aliases: Mapping[str, str]
    group_columns: tuple[str, ...]


def locate(dataset: Dataset, name: str, places: Sequence[Path]) -> Path:
    """The first of `places` that exists; else DataError: where it was looked for and how to get it."""
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(str(place) for place in places)
    raise DataError(
        f"data set {name!r} not found; looked for {looked}\n"
        f"get it with: ltbench data fetch {name} (licence: {dataset.licence}; {dataset.homepage})\n"
        "or name the folder that holds it with --data-root or LTBENCH_DATA"
    )


def load_listing(listing: Listing, dataset: FolderFacts, size: int) -> ImageTable:
    """The table of a listing with its images decoded at (size, size)."""
    to_labels(listing, dataset.classes, dataset.aliases)  # before the long part
    images, content = decoded(listing.tree, listing.files, size, dataset.channels, dataset.name)
    return as_table(listing, dataset, images, content)


def as_table(listing: Listing, dataset: FolderFacts, images: np.ndarray, content: str = "") -> ImageTable:
    """Labels, ids, groups and further columns of a listing around the given images (N, h, w, c).

    Rows linked through any of the data set's group columns share a group. DataError: a class it does not have.
    """
    labels = to_labels(listing, dataset.classes, dataset.aliases)
    ids = np.array(listing.ids)
    columns = {name: np.array(values) for name, values in listing.columns.items()}
    columns["label_name"] = np.array([dataset.classes[k] if k >= 0 else "" for k in labels])
    links = [columns[name] for name in dataset.group_columns if name in columns]
    return ImageTable(images, labels, ids, linked(ids, links), columns, content)


def to_labels(listing: Listing, classes: Sequence[str], aliases: Mapping[str, str]) -> np.ndarray:
    """Labels int64 (N,) of class texts: a number, a class name or an alias (case ignored); "" and -1 are unlabelled."""
    number = {name.lower(): k for k, name in enumerate(classes)}
    number |= {old.lower(): number[new.lower()] for old, new in aliases.items()}
    number |= {str(k): k for k in range(len(classes)) if str(k) not in number} | {"": -1, "-1": -1}
    unknown = sorted({text for text in listing.classes if text.lower() not in number})
    if unknown:
        raise DataError(
            f"label {unknown[0]!r} in {listing.tree.path} is not one of the {len(classes)} classes "
            f"({', '.join(classes)}) nor 0..{len(classes) - 1}; correct the labels"
        )
    return np.array([number[text.lower()] for text in listing.classes], dtype=np.int64)


def linked(ids: np.ndarray, links: Sequence[np.ndarray]) -> np.ndarray:
    """Group names (N,): rows with an equal entry in any of `links` share one; "" and "0" link nothing."""
    parent = list(range(len(ids)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for column in links:
        first: dict[str, int] = {}
        for i, value in enumerate(column.tolist()):
            if value not in ("", "0"):
                parent[root(i)] = root(first.setdefault(value, i))
    return ids[[root(i) for i in range(len(ids))]]


def warn_counts(dataset: Dataset, name: str, labels: np.ndarray) -> None:
    """A DataWarning where the class counts differ from the official ones."""
    official = (dataset.official_counts or {}).get("all")
    found = tuple(np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).tolist())
    if official and found != tuple(official):
        text = f"{name}: images per class {list(found)} differ from the published {list(official)}"
        warnings.warn(f"{text}; run: ltbench data check {name}", DataWarning, stacklevel=3)


def digest(*arrays: np.ndarray) -> str:
    """A hash of shapes and values; text by its characters, whatever the width of the column."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}".encode())
        plain = array.dtype.kind in "UO"
        total.update("\0".join(array.tolist()).encode() if plain else np.ascontiguousarray(array).data)
    return total.hexdigest()
