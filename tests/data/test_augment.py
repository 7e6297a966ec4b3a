from __future__ import annotations

import numpy as np
import pytest
import torch

from ltbench.data.augment import Augmenter, eval_crop
from ltbench.errors import UnknownName


def smooth(n: int, size: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def noise(n: int, size: int, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, size, size, channels), dtype=torch.uint8, generator=torch.manual_seed(0))


def draws(n: int, augmenter: Augmenter, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, augmenter.num_params, generator=torch.Generator().manual_seed(seed))


EXACT = [
    {"flip": True},
    {"vertical_flip": True, "flip": True},
    {"shift": 1},
    {"flip": True, "shift": 0.2},
    {"flip": True, "shift": 2, "crop": "random"},
]


@pytest.mark.parametrize("spec", EXACT)
@pytest.mark.parametrize(("stored", "size", "channels"), [(12, 12, 3), (14, 12, 1)])
def test_whole_pixel_moves_agree_exactly(spec, stored, size, channels):
    images = noise(40, stored, channels)
    batched, each = (Augmenter(spec, size, path) for path in ("batched", "per-image"))
    params = draws(40, batched)
    assert torch.equal(batched(images, params), each(images, params))


@pytest.mark.parametrize("view", ["protocol", "strong"])
@pytest.mark.parametrize("spec", [{"rotation": 15, "flip": True, "shift": 0.1}, {"rotation": 180, "crop": "random"}])
@pytest.mark.parametrize("channels", [1, 3])
def test_interpolated_moves_agree_closely(view, spec, channels):
    images = smooth(24, 36, channels)
    batched, each = (Augmenter(spec, 32, path) for path in ("batched", "per-image"))
    params = draws(24, batched)
    difference = (batched(images, params, view) - each(images, params, view)).abs()
    assert difference.max() < 0.02
    assert difference.mean() < 0.004


def test_integer_moves_through_interpolation_equal_index_gathering():
    images = noise(30, 16)
    augmenter = Augmenter({"flip": True, "vertical_flip": True, "shift": 3, "crop": "random"}, 12, "batched")
    params = draws(30, augmenter)
    assert torch.allclose(augmenter._gather(images, params), augmenter._sample(images, params, False), atol=1e-4)


@pytest.mark.parametrize("path", ["batched", "per-image"])
@pytest.mark.parametrize("view", ["protocol", "strong", "none"])
def test_each_image_depends_on_its_row_alone(path, view):
    augmenter = Augmenter({"rotation": 20, "flip": True, "shift": 0.1, "crop": "random"}, 16, path)
    images = smooth(9, 20)
    params = draws(9, augmenter)
    whole = augmenter(images, params, view)
    assert whole.dtype == torch.float32
    assert whole.shape == (9, 3, 16, 16)
    assert 0 <= whole.min() <= whole.max() <= 1
    alone = torch.cat([augmenter(images[i : i + 1], params[i : i + 1], view) for i in range(9)])
    assert torch.allclose(whole, alone, atol=1e-6)


def test_shift_reaches_every_offset_of_one_pixel():
    augmenter = Augmenter({"shift": 1}, 8)
    image = torch.zeros(1, 8, 8, 1, dtype=torch.uint8)
    image[0, 4, 4] = 255
    seen = set()
    for y in (0.0, 0.5, 0.999):
        for x in (0.0, 0.5, 0.999):
            params = torch.zeros(1, augmenter.num_params)
            params[0, 3], params[0, 4] = y, x
            row, column = augmenter(image, params)[0, 0].nonzero()[0].tolist()
            seen.add((row, column))
    assert seen == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}


def test_flip_is_a_flip_half_of_the_time():
    images = noise(400, 8)
    augmenter = Augmenter({"flip": True}, 8)
    out = augmenter(images, draws(400, augmenter))
    plain = images.permute(0, 3, 1, 2).float() / 255
    same = (out == plain).flatten(1).all(1)
    flipped = (out == plain.flip(3)).flatten(1).all(1)
    assert (same | flipped).all()
    assert 150 < int(flipped.sum()) < 250


def test_rotation_turns_by_the_given_angle():
    augmenter = Augmenter({"rotation": 90}, 9, "batched")
    images = noise(1, 9)
    params = torch.zeros(1, augmenter.num_params)
    turned = augmenter(images, params)[0]
    plain = images[0].permute(2, 0, 1).float() / 255
    assert any(torch.allclose(turned, torch.rot90(plain, k, (1, 2)), atol=1e-4) for k in (1, 3))


def test_evaluation_view_is_the_centre_crop():
    images = noise(5, 20)
    augmenter = Augmenter({"flip": True, "rotation": 30}, 16)
    expected = torch.from_numpy(eval_crop(images.numpy(), 16).copy()).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(augmenter(images, draws(5, augmenter), "none"), expected)
    array = images.numpy()
    assert eval_crop(array, 20) is array


def test_small_synthetic_images_are_enlarged():
    augmenter = Augmenter({"flip": True, "rotation": 5}, 32)
    assert augmenter(noise(3, 16), draws(3, augmenter)).shape == (3, 3, 32, 32)


def test_strong_view_changes_brightness():
    augmenter = Augmenter({}, 16)
    images = torch.full((8, 16, 16, 3), 100, dtype=torch.uint8)
    means = augmenter(images, draws(8, augmenter), "strong").mean(dim=(1, 2, 3))
    assert means.std() > 0.02


def test_unknown_words_are_named():
    with pytest.raises(UnknownName, match="'rotate'"):
        Augmenter({"rotate": 3}, 8)
    with pytest.raises(UnknownName, match="path 'fast'"):
        Augmenter({}, 8, "fast")
    augmenter = Augmenter({}, 8)
    with pytest.raises(UnknownName, match="view 'weak'"):
        augmenter(noise(1, 8), draws(1, augmenter), "weak")


def test_spec_is_read_only_as_numbers():
    assert Augmenter({"shift": np.float64(0.1)}, 10).num_params == Augmenter({}, 10).num_params
