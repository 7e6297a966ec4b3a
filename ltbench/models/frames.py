"""Images of any size in networks that take powers of two only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from ltbench.errors import DataError
from ltbench.models.images import resized
from ltbench.options import choice

SIZES = (8, 16, 32, 64, 128, 256)  # px
PADDED = range(28, 32)  # sides in px that are padded to 32 instead of resized


@dataclass(frozen=True)
class Frame:
    """side: px of the square images outside; size: px inside, one of SIZES; padded: framed by reflection, else resized.

    A padded image is cropped back to its side; a resized one leaves at the inner size.
    """

    side: int
    size: int
    padded: bool = False

    @classmethod
    def choose(cls, shape: tuple[int, ...], size: int | None, max_size: int) -> Frame:
        """For images of shape (height, width, channels): the nearest of SIZES up to max_size, or `size` itself.

        DataError for images that are not square or have neither 1 nor 3 channels.
        """
        height, width, channels = shape
        if height != width or channels not in (1, 3):
            raise DataError(f"the generator takes square images of 1 or 3 channels, got (height, width, c) = {shape}")
        for option, value in (("size", size), ("max_size", max_size)):
            if value is not None:
                choice(f"generator.{option}", value, SIZES)
        if size is None:
            nearest = 2 ** round(math.log2(height))
            size = max(SIZES[0], min(nearest, max_size))
        return cls(height, size, padded=height in PADDED and size == 32)

    @property
    def drawn(self) -> int:
        """px of the images that leave."""
        return self.side if self.padded else self.size

    def enter(self, images: np.ndarray) -> Tensor:
        """uint8 (n, side, side, c) -> uint8 (n, c, size, size)."""
        if not self.padded:
            return resized(images, (self.size, self.size))
        before = (self.size - self.side) // 2
        after = self.size - self.side - before
        inside = resized(images, (self.side, self.side)).float()
        return pad(inside, (before, after, before, after), mode="reflect").byte()

    def leave(self, x: Tensor) -> Tensor:
        """(n, c, size, size) -> (n, c, drawn, drawn)."""
        if not self.padded:
            return x
        before = (self.size - self.side) // 2
        return x[..., before : before + self.side, before : before + self.side]
