"""What is wrong with the images of a data set: damaged files, exact duplicates, contradictory labels."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from ltbench.data.splits import PARTS
from ltbench.data.tables import FolderFacts, as_table
from ltbench.errors import DataError
from ltbench.interfaces.dataset import Dataset, ImageTable


def inspect_table(dataset: Dataset, root: Path) -> dict[str, Any]:
    """images, counts, undecodable (file names), and groups of images with identical pixels: all, across parts of the
    default split, with contradictory labels (each a list of lists of ids)."""
    table, digests, undecodable = _digests(dataset, root)
    labels = table.labels
    groups: dict[str, list[int]] = {}
    for i, digest in enumerate(digests):
        if digest:
            groups.setdefault(digest, []).append(i)
    twins = [rows for rows in groups.values() if len(rows) > 1]
    part = _parts(dataset, table)
    across = [rows for rows in twins if len(set(part[rows].tolist()) - {-1}) > 1]
    contradictory = [rows for rows in twins if len(set(labels[rows].tolist()) - {-1}) > 1]
    return {
        "images": len(table),
        "counts": np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).tolist(),
        "undecodable": undecodable,
        "duplicates": [table.ids[rows].tolist() for rows in twins],
        "duplicates_across_splits": [table.ids[rows].tolist() for rows in across],
        "contradictory": [table.ids[rows].tolist() for rows in contradictory],
    }


def _digests(dataset: Dataset, root: Path) -> tuple[ImageTable, list[str], list[str]]:
    """The table (without images where they are files), a hash of the pixels of each image ("" = undecodable)."""
    listing_of = getattr(dataset, "listing", None)
    if listing_of is None:
        table = dataset.load(root, dataset.native_size or 64)
        return table, [hashlib.sha256(image.tobytes()).hexdigest() for image in table.images], []
    listing = listing_of(root)
    table = as_table(
        listing, cast(FolderFacts, dataset), np.zeros((len(listing.files), 1, 1, dataset.channels), dtype=np.uint8)
    )

    def digest(name: str) -> str:
        try:
            with Image.open(io.BytesIO(listing.tree.read(name))) as picture:
                plain = picture.convert("RGB")
                return hashlib.sha256(f"{plain.size}".encode() + plain.tobytes()).hexdigest()
        except Exception:  # Pillow raises nearly anything on damaged files
            return ""

    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 1)) as pool:
        digests = list(pool.map(digest, listing.files))
    return table, digests, [f for f, d in zip(listing.files, digests, strict=True) if not d]


def _parts(dataset: Dataset, table: ImageTable) -> np.ndarray:
    """The part (n,) of each row in the default split; all -1 where the data allow no split."""
    part = np.full(len(table), -1)
    try:
        splits = dataset.split(table, dataset.scheme, 0)
    except DataError:
        return part
    for k, name in enumerate(PARTS):
        part[getattr(splits, name)] = k
    return part
