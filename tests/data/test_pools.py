"""Images without labels: from several places, never a held-out one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltbench.data.pools import gather_pool
from ltbench.errors import DataError
from ltbench.interfaces import ImageTable, Splits
from ltbench.testing.tiny import TinyDataset


@pytest.fixture
def own() -> tuple[TinyDataset, ImageTable, Splits]:
    dataset = TinyDataset()
    table = dataset.load(Path(), 16)
    return dataset, table, dataset.split(table, "column:part")


def folder_of(images: np.ndarray, path: Path) -> str:
    for row, image in enumerate(images):
        place = path / f"class{row % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row}.png")
    return f"folder:{path}"


def gather(own, sources, tmp_path):
    dataset, table, splits = own
    return gather_pool(sources, dataset=dataset, table=table, splits=splits, root=tmp_path, size=16)


def test_several_sources_are_one_pool(own, tmp_path):
    other = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    source = folder_of(other, tmp_path / "other")
    pool = gather(own, ["in-domain", source], tmp_path)
    train = own[2].train
    assert len(pool) == len(train) + 6 and pool.shape == (16, 16, 3) and pool.sources == ("in-domain", source)
    rows = np.array([len(train) + 1, 0, len(train) - 1])
    taken = pool.take(rows)
    assert np.array_equal(taken[1], own[1].images[train[0]]) and np.array_equal(taken[2], own[1].images[train[-1]])
    assert any(np.array_equal(taken[0], image) for image in other)
    assert pool.content != gather(own, ["in-domain"], tmp_path).content


def test_held_out_images_are_found_by_their_pixels(own, tmp_path):
    test_image = own[1].images[own[2].test[:1]]
    source = folder_of(np.concatenate([test_image, 255 - test_image]), tmp_path / "leak")
    with pytest.raises(DataError, match="holds 1 validation or test images, first 'test000'"):
        gather(own, [source], tmp_path)


def test_a_table_without_a_content_hash_is_told_apart_by_its_pixels(own, tmp_path):
    dataset, table, splits = own
    bare, other = replace(table, content=""), replace(table, content="", images=255 - table.images)
    first, again, changed = (
        gather((dataset, t, splits), ["in-domain"], tmp_path).content for t in (bare, replace(bare), other)
    )
    assert first == again != changed


def test_other_channels_are_converted(own, tmp_path):
    grey = TinyDataset(channels=1)
    table = grey.load(Path(), 16)
    source = folder_of(np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8), tmp_path / "rgb")
    pool = gather_pool(
        [source], dataset=grey, table=table, splits=grey.split(table, "column:part"), root=tmp_path, size=16
    )
    assert pool.shape == (16, 16, 1)


@pytest.mark.parametrize(
    ("sources", "words"),
    [([], "no source of images"), (["own"], "offers no images without labels"), (["folder:/nowhere"], "nowhere")],
)
def test_bad_sources(own, tmp_path, sources, words):
    with pytest.raises(DataError, match=words):
        gather(own, sources, tmp_path)
