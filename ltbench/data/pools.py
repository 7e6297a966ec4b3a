"""Images to learn from without labels, gathered from several places and kept apart from held-out images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ltbench.data.tables import digest
from ltbench.errors import DataError
from ltbench.interfaces.dataset import Dataset, ImagePool, ImageTable, Splits


def gather_pool(
    sources: Sequence[str], *, dataset: Dataset, table: ImageTable, splits: Splits, root: Path, size: int
) -> ImagePool:
    """The images of all sources at size px and in the table's channels; see `Context.pool`.

    Labels are ignored. DataError: no source, a source without images, or one that holds a validation or test image.
    """
    if not sources:
        raise DataError(
            "no source of images without labels is named; for example --set generator.pool='[\"in-domain\"]'"
        )
    channels = table.images.shape[3]
    held_out = _hashes(table.images, np.concatenate([splits.val, splits.test]))
    held_ids = dict(zip(held_out, table.ids[np.concatenate([splits.val, splits.test])], strict=False))
    parts, content = [], []
    for source in sources:
        images, mark = _images(source, dataset, table, splits, root, size)
        if len(images) == 0:
            raise DataError(f"the source {source!r} has no images; name another one")
        if images.shape[3] != channels:
            images = np.repeat(images, 3, axis=3) if channels == 3 else _grey(images)
        if source != "in-domain":
            leaked = [held_ids[h] for h in _hashes(images, np.arange(len(images))) if h in held_ids]
            if leaked:
                raise DataError(
                    f"the source {source!r} holds {len(leaked)} validation or test images, first {str(leaked[0])!r}; "
                    "leave them out, or use the source in-domain"
                )
        parts.append(images)
        content.append(mark)
    return ImagePool(tuple(parts), digest(np.array(content)), tuple(sources))


def _images(
    source: str, dataset: Dataset, table: ImageTable, splits: Splits, root: Path, size: int
) -> tuple[np.ndarray, str]:
    """Images uint8 (n, size, size, c) of a source and what identifies them."""
    if source == "in-domain":
        return table.images[splits.train], digest(np.array([table.content or digest(table.images)]), splits.train)
    if source == "own":
        found = dataset.unlabeled(root, size)
        if found is None:
            raise DataError("the data set offers no images without labels; name a data set, a folder or in-domain")
    else:
        import ltbench

        name, colon, path = source.partition(":")
        found = ltbench.build("dataset", name, **({"path": path} if colon else {})).load(root, size)
    return found.images, found.content or digest(found.images)


def _grey(images: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 1), luma of ITU-R 601."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(images.astype(np.float32) @ weights)[..., None].astype(np.uint8)


def _hashes(images: np.ndarray, rows: np.ndarray) -> list[bytes]:
    """A hash of the pixels of each row."""
    return [hashlib.blake2b(np.ascontiguousarray(images[row]).data, digest_size=16).digest() for row in rows]
