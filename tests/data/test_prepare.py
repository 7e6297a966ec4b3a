from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from ltbench.data.cache import DataWarning
from ltbench.data.prepare import cut_to_ratio, prepare, stratified_subset
from ltbench.errors import DataError
from ltbench.interfaces.dataset import Dataset, ImageTable, Splits

OPTIONS = {"root": Path(), "stored_size": 6, "image_size": 4, "scheme": "stratified", "split_seed": 0}


class Toy(Dataset):
    classes = ("a", "b", "c")

    def __init__(self, table: ImageTable, warning: str = "") -> None:
        self.table, self.warning = table, warning

    def load(self, root: Path, size: int) -> ImageTable:
        if self.warning:
            warnings.warn(self.warning, DataWarning, stacklevel=2)
        return self.table


@pytest.fixture
def toy(table):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [200, 100, 50]))
    return Toy(table(labels, size=6, age=list(range(350))), "something odd")


def test_parts_have_their_sizes_and_belong_together(toy):
    got = prepare(toy, **OPTIONS)
    assert got.train.images.shape == (245, 6, 6, 3)
    assert got.val.images.shape[1:] == got.test.images.shape[1:] == (4, 4, 3)
    assert (got.held_out.images == toy.table.images[got.splits.val]).all() and got.held_out.labels is got.val.labels
    assert got.train_counts.tolist() == [140, 70, 35]
    assert got.train_counts.dtype == np.int64
    assert (got.test.images == toy.table.images[got.splits.test, 1:5, 1:5]).all()
    assert (got.train.aux["age"] == got.splits.train).all()
    assert "something odd" in got.warnings
    assert got.class_names == ("a", "b", "c")
    assert got.pool(["in-domain"]).shape == got.train.images.shape[1:]


def test_content_follows_images_labels_and_ids_only(toy, table):
    first = prepare(toy, **OPTIONS)
    assert prepare(toy, **OPTIONS | {"split_seed": 5}, imbalance=10).content == first.content
    other = Toy(ImageTable(255 - toy.table.images, toy.table.labels, toy.table.ids, toy.table.groups))
    assert prepare(other, **OPTIONS).content != first.content
    relabelled = Toy(ImageTable(toy.table.images, 2 - toy.table.labels, toy.table.ids, toy.table.groups))
    assert prepare(relabelled, **OPTIONS).content != first.content


def test_imbalance_cuts_train_alone_and_is_nested(toy):
    before = None
    whole = prepare(toy, **OPTIONS)
    for ratio in (5, 10, 50, 140):
        got = prepare(toy, **OPTIONS, imbalance=ratio)
        assert got.train_counts[0] == 140
        assert got.train_counts[2] == round(140 / ratio)
        assert (got.test.ids == whole.test.ids).all()
        ids = set(got.train.ids)
        assert before is None or ids <= before
        before = ids


def test_profile_is_exponential_by_rank():
    labels = np.repeat([0, 1, 2], [100, 400, 200])
    rows, remarks = cut_to_ratio(labels, np.arange(700), 16, 3, 0)
    assert np.bincount(labels[rows]).tolist() == [25, 400, 100]
    assert remarks == []
    _, remarks = cut_to_ratio(labels, np.arange(700), 2, 3, 0)
    assert "imbalance 2 asked, 4.0 reached" in remarks[0]
    for bad in (0.5, -1, float("nan"), float("inf")):
        with pytest.raises(DataError, match="number >= 1"):
            cut_to_ratio(labels, np.arange(700), bad, 3, 0)


def test_subset_keeps_proportions_and_every_class():
    labels = np.repeat([0, 1, 2], [900, 95, 5])
    rows = stratified_subset(labels, np.arange(1000), 100, 3, 0)
    assert np.bincount(labels[rows]).tolist() in ([90, 9, 1], [89, 10, 1])
    assert np.bincount(labels[stratified_subset(labels, np.arange(1000), 3, 3, 0)]).tolist() == [1, 1, 1]
    assert (rows == stratified_subset(labels, np.arange(1000), 100, 3, 0)).all()
    with pytest.raises(DataError, match="less than the number of classes"):
        stratified_subset(labels, np.arange(1000), 2, 3, 0)


def test_max_train(toy):
    got = prepare(toy, **OPTIONS, max_train=49)
    assert got.train_counts.tolist() == [28, 14, 7]
    assert len(prepare(toy, **OPTIONS, max_train=10**6).train) == 245


def test_a_split_seed_that_changes_nothing_is_known(toy, table):
    parts = np.random.default_rng(0).choice(["train", "val", "test"], 350, p=[0.7, 0.1, 0.2])
    fixed = Toy(table(toy.table.labels, size=6, split=parts.tolist()))
    one = {**OPTIONS, "scheme": "official", "split_seed": 1}
    assert prepare(fixed, **one).idle_seed and prepare(fixed, **one, max_train=10**6).idle_seed
    assert not prepare(fixed, **{**one, "split_seed": 0}).idle_seed
    for drawn in ({"max_train": 49}, {"imbalance": 5}, {"shuffle_labels": True}):
        assert not prepare(fixed, **one, **drawn).idle_seed
    assert not prepare(toy, **{**OPTIONS, "split_seed": 1}).idle_seed


def test_shuffling_leaves_test_and_counts(toy):
    plain, mixed = prepare(toy, **OPTIONS), prepare(toy, **OPTIONS, shuffle_labels=True)
    assert (plain.train.labels != mixed.train.labels).any()
    assert (plain.val.labels != mixed.val.labels).any()
    assert (plain.test.labels == mixed.test.labels).all()
    assert (plain.train_counts == mixed.train_counts).all()
    assert (mixed.train.labels == prepare(toy, **OPTIONS, shuffle_labels=True).train.labels).all()
    assert any("shuffled" in w for w in mixed.warnings)


def test_bad_tables_are_refused(table):
    with pytest.raises(DataError, match=r"1 labels lie outside 0\.\.2, first 7"):
        prepare(Toy(table([0, 1, 2] * 20 + [7], size=6)), **OPTIONS)
    with pytest.raises(DataError, match=r"class b \(1\) has no image at all"):
        prepare(Toy(table([0, 2] * 20, size=6)), **OPTIONS)
    twice = table([0, 1, 2] * 20, size=6)
    twice.ids[1] = "i0"
    with pytest.raises(DataError, match="'i0' occurs 2 times"):
        prepare(Toy(twice), **OPTIONS)


def test_class_absent_from_training_is_named(table):
    parts = ["train"] * 40 + ["test"] * 10 + ["val"] * 10
    labels = [0, 1] * 20 + [2] * 10 + [0] * 10
    names = [("a", "b", "c")[k] for k in labels]
    with pytest.raises(DataError, match=r"class c \(2\) has no training image"):
        prepare(Toy(table(labels, size=6, split=parts, label_name=names)), **OPTIONS | {"scheme": "official"})


def test_a_data_set_that_leaks_is_refused(toy):
    class Leaky(Toy):
        def split(self, table: ImageTable, scheme: str = "stratified", seed: int = 0) -> Splits:
            good = super().split(table, scheme, seed)
            return Splits(good.train, good.val, np.append(good.test, good.train[0]))

    with pytest.raises(DataError, match="1 rows of test lie in another part"):
        prepare(Leaky(toy.table), **OPTIONS)

    class Crossing(Toy):
        def split(self, table: ImageTable, scheme: str = "stratified", seed: int = 0) -> Splits:
            return Splits(np.arange(200), np.arange(200, 250), np.arange(250, 350))

    table = toy.table
    grouped = ImageTable(table.images, table.labels, table.ids, np.repeat(np.arange(50), 7).astype(str))
    with pytest.raises(DataError, match="groups lie in more than one part"):
        prepare(Crossing(grouped), **OPTIONS)


def test_split_file_enters_the_content(toy, tmp_path):
    contents = []
    for first in ("val", "train"):
        parts = [first] + ["train"] * 250 + ["val"] * 50 + ["test"] * 49
        lines = [f"{i},{p}" for i, p in zip(toy.table.ids, parts, strict=True)]
        (tmp_path / "s.csv").write_text("\n".join(["id,split", *lines]))
        contents.append(prepare(toy, **OPTIONS | {"scheme": f"file:{tmp_path / 's.csv'}"}).content)
    assert contents[0] != contents[1]
