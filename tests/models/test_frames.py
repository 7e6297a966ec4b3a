"""Images of any size inside networks that take powers of two, and the choice of the best snapshot."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ltbench.errors import DataError, UserError
from ltbench.interfaces import ImageTable
from ltbench.metrics import frechet_from_features
from ltbench.models.frames import SIZES, Frame
from ltbench.models.snapshots import Snapshots

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("side", "max_size", "size", "drawn"),
    [
        (8, 64, 8, 8),
        (4, 64, 8, 8),
        (28, 64, 32, 28),
        (31, 64, 32, 31),
        (32, 64, 32, 32),
        (20, 64, 16, 16),
        (24, 64, 32, 32),
        (224, 256, 256, 256),
        (144, 64, 64, 64),
        (28, 16, 16, 16),
        (1024, 256, 256, 256),
    ],
)
def test_the_nearest_size(side: int, max_size: int, size: int, drawn: int) -> None:
    frame = Frame.choose((side, side, 3), None, max_size)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    inside = frame.enter(images)
    assert (frame.size, frame.drawn) == (size, drawn)
    assert inside.dtype == torch.uint8 and inside.shape == (2, 3, size, size)
    assert frame.leave(inside).shape == (2, 3, drawn, drawn)


@pytest.mark.parametrize("side", [28, 29, 31])
def test_padding_reflects_and_is_cropped_off_again(side: int) -> None:
    frame = Frame.choose((side, side, 1), None, 32)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 1)).astype(np.uint8)
    inside = frame.enter(images)
    assert np.array_equal(frame.leave(inside).permute(0, 2, 3, 1).numpy(), images)
    before = (32 - side) // 2
    expected = np.pad(images[0, :, :, 0], (before, 32 - side - before), mode="reflect")
    assert np.array_equal(inside[0, 0].numpy(), expected)


def test_a_size_that_was_asked_for() -> None:
    assert Frame.choose((28, 28, 1), 64, 16).size == 64
    assert not Frame.choose((28, 28, 1), 64, 16).padded
    with pytest.raises(UserError, match=r"generator\.size must be one of 8, 16, 32, 64, 128, 256, got 48"):
        Frame.choose((28, 28, 1), 48, 64)


@pytest.mark.parametrize("shape", [(8, 9, 1), (8, 8, 4), (8, 8, 2)])
def test_images_that_no_network_takes(shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match=r"square images of 1 or 3 channels, got"):
        Frame.choose(shape, None, 32)
    assert SIZES == (8, 16, 32, 64, 128, 256)


class Pixels:
    """A reference whose features are the pixels."""

    name = "pixels"

    def features(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32)


def validation(n: int = 6) -> ImageTable:
    images = np.random.default_rng(0).integers(0, 256, (n, 2, 2, 1)).astype(np.uint8)
    ids = np.arange(n).astype(str)
    return ImageTable(images, np.arange(n, dtype=np.int64) % 3, ids, ids)


def test_the_nearest_snapshot_is_kept() -> None:
    reference: Any = Pixels()
    snapshots, net = Snapshots(reference, validation(), 10), nn.Linear(1, 1)
    assert snapshots.labels.tolist() == [0, 1, 2, 0, 1, 2] * 2  # whole copies of the validation part's mix
    near, far = validation().images.repeat(2, 0), np.zeros((12, 2, 2, 1), np.uint8)
    far[0] = 255
    with torch.no_grad():
        net.weight.fill_(1.0)
        first = snapshots.offer(far, net, 1.0)
        net.weight.fill_(2.0)
        second = snapshots.offer(near, net, 2.0)
        net.weight.fill_(3.0)
        snapshots.offer(far, net, 3.0)
    assert second < first == frechet_from_features(reference.features(far), snapshots.target)
    assert snapshots.best is not None and snapshots.best["weight"].item() == 2.0
    assert (snapshots.kimg, snapshots.distance) == (2.0, second)
    other = Snapshots(reference, validation(), 10)
    other.load_state_dict(copy.deepcopy(snapshots.state_dict()))
    assert other.offer(far, net, 4.0) == first and other.kimg == 2.0
    assert other.key == snapshots.key != Snapshots(reference, validation(5), 10).key


def test_too_few_validation_images() -> None:
    reference: Any = Pixels()
    with pytest.raises(DataError, match=r"there are 1; .*--set generator.snapshot_kimg=0"):
        Snapshots(reference, validation(1), 10)
