"""Extractors by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltbench.errors import UserError
from ltbench.features.base import Extractor

if TYPE_CHECKING:
    import torch

KNOWN = "reference, randconv-s0, randconv-s0-std, pca64-pixels, tv-ARCH:FILE, fid, fid:FILE, stand-in:FILE"


def build_extractor(spec: str, real: np.ndarray, device: torch.device) -> Extractor:
    """The extractor called `spec`; `real` uint8 (n, h, w, c): training images, for those that are fitted.

    randconv-sN[-std], pca64-pixels, tv-ARCH:FILE, fid[:FILE], stand-in:FILE. UserError for anything else.
    """
    name, _, file = spec.partition(":")
    random = re.fullmatch(r"randconv-s(\d+)(-std)?", spec)
    if random:
        from ltbench.features.plain import RandomConvolutions

        return RandomConvolutions(int(random[1]), real, random[2] is not None)
    if spec == "pca64-pixels":
        from ltbench.features.plain import PixelAxes

        return PixelAxes(real)
    if name.startswith("tv-") and file:
        from ltbench.features.networks import Backbone

        return Backbone(name.removeprefix("tv-"), Path(file), device)
    if name == "fid" or (name == "stand-in" and file):
        from ltbench.features.networks import Inception2015

        return Inception2015(Path(file) if file else None, device, stand_in=name == "stand-in")
    raise UserError(f"unknown extractor {spec!r}; there are: {KNOWN}")
