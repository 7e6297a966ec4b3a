"""One image file to uint8 of a given size."""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image
from rich.progress import track

from ltbench.data.trees import Tree
from ltbench.errors import DataError

PAD_UP_TO = 4  # pixels: 28 px images become 32 px by a border instead of interpolation
FIX = "fetch or import the data again, or delete these files and their lines in labels.csv"


@dataclass(frozen=True)
class Decoded:
    """images uint8 (N, s, s, c); crcs of the files (N,); warnings."""

    images: np.ndarray
    crcs: tuple[int, ...]
    warnings: tuple[str, ...] = ()


def decode_image(data: bytes, size: int, channels: int) -> tuple[np.ndarray, str]:
    """uint8 (size, size, channels) and a remark ("" if none); OSError, ValueError if undecodable.

    The whole image is squashed to a square, whatever its aspect. Transparency is dropped, 16 bits are scaled to 8.
    """
    if not data:
        raise ValueError("empty file")
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB" if channels == 3 else "L", (2 * size, 2 * size))
        picture.load()
        remark = ""
        if picture.mode in ("RGBA", "LA", "PA") or (picture.mode == "P" and "transparency" in picture.info):
            remark = "with transparency, dropped"
        if picture.mode.startswith("I") or picture.mode == "F":
            remark = "with 16 bits, scaled to 8"
            wide = np.asarray(picture).astype(np.float64) * (255 / 65535)
            eight: Image.Image = Image.fromarray(wide.round().clip(0, 255).astype(np.uint8))
        else:
            eight = picture.convert("RGB") if picture.mode in ("P", "PA", "CMYK") else picture
        plain = eight.convert("RGB" if channels == 3 else "L")
        return fit(np.asarray(plain).reshape(plain.height, plain.width, channels), size), remark


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (h, w, c) at (size, size, c): a black border for a square up to 4 px smaller, else antialiased bilinear."""
    height, width, channels = image.shape
    if (height, width) == (size, size):
        return image
    if height == width and height < size <= height + PAD_UP_TO:
        out = np.zeros((size, size, channels), dtype=np.uint8)
        start = (size - height) // 2
        out[start : start + height, start : start + width] = image
        return out
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, channels)


def decode_all(
    tree: Tree, names: tuple[str, ...], size: int, channels: int, label: str = "images", fix: str = FIX
) -> Decoded:
    """All images in order, in parallel; DataError naming the first bad file, how many there are, and the fix."""
    images = np.empty((len(names), size, size, channels), dtype=np.uint8)

    def one(i: int) -> tuple[int, str, str]:
        try:
            data = tree.read(names[i])
            images[i], remark = decode_image(data, size, channels)
            return zlib.crc32(data), remark, ""
        except Exception as error:  # Pillow raises nearly anything on damaged files
            return 0, "", f"{names[i]} ({error or type(error).__name__})"

    results = list(_parallel(one, len(names), f"decoding {label}"))
    bad = [failure for _, _, failure in results if failure]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(names)} images in {tree.path} cannot be decoded, first {bad[0][:200]}\n{fix}"
        )
    remarks = Counter(remark for _, remark, _ in results if remark)
    warnings = tuple(f"{n} images {remark}" for remark, n in sorted(remarks.items()))
    return Decoded(images, tuple(crc for crc, _, _ in results), warnings)


def _parallel(function: Callable[[int], tuple[int, str, str]], n: int, title: str) -> list[tuple[int, str, str]]:
    """Results of function(0..n-1) in order; threads suffice, since Pillow releases the lock while it decodes."""
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 1)) as pool:
        results = pool.map(function, range(n))
        return list(track(results, title, total=n, transient=True, disable=not sys.stderr.isatty()))
