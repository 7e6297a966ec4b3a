"""Between uint8 images (n, h, w, c) and tensors (n, c, h, w) in [-1, 1], and images at another size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

CHUNK = 1024


def resized(images: np.ndarray, size: tuple[int, int]) -> Tensor:
    """uint8 images (n, h, w, c) as uint8 (n, c, *size), bilinear with antialiasing; unchanged where the size fits."""
    if images.shape[1:3] == size:
        return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()
    parts = [torch.empty(0, images.shape[3], *size, dtype=torch.uint8)]
    for start in range(0, len(images), CHUNK):
        x = torch.from_numpy(np.array(images[start : start + CHUNK])).permute(0, 3, 1, 2).float()
        x = interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        parts.append(x.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (n, h, w, c) to (n, size, size, c), bilinear with antialiasing."""
    if images.shape[1:3] == (size, size):
        return images
    return resized(images, (size, size)).permute(0, 2, 3, 1).numpy()


def to_signed(images: Tensor) -> Tensor:
    """uint8 (n, c, h, w) -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1.0


def to_uint8(x: Tensor) -> np.ndarray:
    """Float (n, c, h, w), nominally in [-1, 1] -> uint8 (n, h, w, c) on the host."""
    levels = ((x.float().clamp(-1, 1) + 1.0) * 127.5).round()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
