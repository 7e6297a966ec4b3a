"""Features without training: random convolutions and principal axes of pixels."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import torch
from torch import nn

from ltbench.features.base import Extractor, rgb
from ltbench.metrics import principal_axes
from ltbench.models.images import resize_images, resized, to_signed

WIDTHS = (32, 64, 128)
SIDE = 32  # pixels: larger images are reduced for principal axes
FITTED = 2000  # images


class RandomConvolutions(Extractor):
    """Mean and sd over the map of three random convolution stages, d = 448: texture and colour, little meaning.

    Of the size of the images of `real`. standardise: each feature over its sd on real images (name with -std), since
    random features are of tiny scale.
    """

    def __init__(self, seed: int, real: np.ndarray, standardise: bool = False) -> None:
        self.name = f"randconv-s{seed}" + ("-std" if standardise else "")
        self.side: tuple[int, int] = (real.shape[1], real.shape[2])
        self.preprocess = f"{self.side[0]} px antialiased bilinear, [-1, 1], RGB"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = (3, *WIDTHS)
            self.stages = [nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        self.scale = np.ones(1)
        if standardise:
            rows = np.random.default_rng(0).permutation(len(real))[:FITTED]
            spread = self.features(real[rows]).std(axis=0)
            self.scale = np.where(spread > 0, spread, 1.0)
        parts = [*(stage.weight.detach().numpy() for stage in self.stages), self.scale]
        self.weights = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    @torch.no_grad()
    def some(self, images: np.ndarray) -> np.ndarray:
        x, found = to_signed(resized(rgb(images), self.side)), []
        for stage in self.stages:
            x = torch.relu(stage(x))
            found += [x.mean((2, 3)), x.std((2, 3), correction=0)]
            x = nn.functional.avg_pool2d(x, 2) if min(x.shape[2:]) > 3 else x
        return torch.cat(found, 1).double().numpy() / self.scale


class PixelAxes(Extractor):
    """The leading 64 principal components of real pixels at 32 px at most: a sanity check."""

    name = "pca64-pixels"

    def __init__(self, real: np.ndarray) -> None:
        self.side = min(SIDE, real.shape[1])
        self.preprocess = f"{self.side} px antialiased bilinear, [0, 1]"
        rows = np.random.default_rng(0).permutation(len(real))[:FITTED]
        pixels = self._pixels(real[rows])
        self.project = principal_axes(pixels, 64)
        self.weights = hashlib.sha256(pixels.tobytes()).hexdigest()

    def some(self, images: np.ndarray) -> np.ndarray:
        return self.project(self._pixels(images))

    def _pixels(self, images: np.ndarray) -> np.ndarray:
        return resize_images(images, self.side).reshape(len(images), -1) / 255.0
