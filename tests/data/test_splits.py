from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.data.splits import make_splits
from ltbench.errors import DataError, UnknownName
from ltbench.interfaces.dataset import ImageTable

HAM = (1113, 6705, 514, 327, 1099, 115, 142)
APTOS = (1805, 370, 999, 193, 295)


def bare(labels, groups=None, aux=None):
    ids = np.array([f"i{k}" for k in range(len(labels))], dtype=str)
    images = np.zeros((len(labels), 1, 1, 1), dtype=np.uint8)
    return ImageTable(images, np.asarray(labels, np.int64), ids, ids if groups is None else groups, aux or {})


def of_counts(counts):
    return bare(np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)))


@pytest.mark.parametrize(("counts", "sizes"), [(HAM, (7011, 1002, 2002)), (APTOS, (2564, 367, 731))])
def test_published_sizes(counts, sizes):
    splits = make_splits(of_counts(counts))
    assert (len(splits.train), len(splits.val), len(splits.test)) == sizes


def test_released_column_keeps_its_whole_training_part_and_tests_on_its_validation():
    names = np.array(["train", "train", "val", "test"] * 5)
    table = bare(np.repeat([0, 1], 10), aux={"part": names})
    splits = make_splits(table, "released:part")
    assert splits.train.tolist() == np.flatnonzero(names != "test").tolist()
    assert splits.val.tolist() == splits.test.tolist() == np.flatnonzero(names == "test").tolist()
    assert splits.validation_is_test and "selection sees the test labels" in splits.notes[0]


@pytest.mark.parametrize(
    ("counts", "test"), [(HAM, (222, 1341, 102, 65, 219, 23, 28)), (APTOS, (361, 74, 199, 38, 59))]
)
def test_released_split_tests_on_its_validation(counts, test):
    table = of_counts(counts)
    splits = make_splits(table, "80-20-released")
    assert np.bincount(table.labels[splits.test]).tolist() == list(test)
    assert splits.validation_is_test
    assert (splits.val == splits.test).all()
    assert "selection sees the test labels" in splits.notes[0]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=60, max_size=150),
    classes=st.integers(2, 4),
    seed=st.integers(0, 5),
    mixed=st.booleans(),
)
def test_groups_stay_together_and_proportions_hold(sizes, classes, seed, mixed):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    labels = rng.integers(0, classes, len(sizes))[group]
    if mixed:  # a few groups with contradicting labels
        labels = np.where(rng.random(len(labels)) < 0.05, rng.integers(0, classes, len(labels)), labels)
    table = bare(labels, group.astype(str))
    splits = make_splits(table, seed=seed)
    parts = [splits.train, splits.val, splits.test]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(table)))
    held = [set(table.groups[rows].tolist()) for rows in parts]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    for k in range(classes):
        n = int((labels == k).sum())
        got = int((labels[splits.train] == k).sum())
        assert abs(got - 0.7 * n) <= 7
    again = make_splits(table, seed=seed)
    assert all((a == b).all() for a, b in zip(parts, [again.train, again.val, again.test], strict=True))


def test_seeds_differ_and_unlabelled_rows_stay_out():
    table = bare([0, 1] * 50 + [-1] * 10)
    first, second = make_splits(table, seed=0), make_splits(table, seed=1)
    assert not np.array_equal(first.train, second.train)
    assert max(part.max() for part in (first.train, first.val, first.test)) < 100


def test_ungrouped_ignores_groups_and_says_so():
    table = bare([0, 1] * 50, np.repeat(np.arange(25), 4).astype(str))
    splits = make_splits(table, "stratified-ungrouped")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (70, 10, 20)
    assert any("groups of related images" in note for note in splits.notes)
    assert not any("groups of related" in note for note in make_splits(table).notes)


def test_few_validation_images_are_noted():
    note = [n for n in make_splits(bare([0] * 100 + [1] * 20)).notes if n.startswith("fewer")]
    assert note == ["fewer than 5 validation images: 1 2"]


def test_column_with_and_without_validation():
    names = np.array((["train"] * 8 + ["test"] * 2) * 10)
    labels = np.tile([0, 1], 50)
    splits = make_splits(bare(labels, aux={"part": names}), "column:part")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (72, 8, 20)
    assert (names[splits.val] == "train").all()
    given_val = names.copy()
    given_val[:4] = "Validation"
    splits = make_splits(bare(labels, aux={"split": given_val}), "official")
    assert splits.val.tolist() == [0, 1, 2, 3]


def test_column_validation_is_group_aware():
    labels = np.zeros(300, dtype=np.int64)
    groups = np.repeat(np.arange(100), 3).astype(str)
    names = np.where(np.arange(300) < 240, "train", "test")
    splits = make_splits(bare(labels, groups, {"s": names}), "column:s")
    assert not set(groups[splits.val]) & set(groups[splits.train])


def test_split_file(tmp_path: Path):
    table = bare([0, 1] * 10)
    lines = [f"{i},{'test' if k < 4 else 'val' if k < 8 else 'train'}" for k, i in enumerate(table.ids)]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["id,split", *reversed(lines)]))
    splits = make_splits(table, f"file:{path}")
    assert splits.test.tolist() == [0, 1, 2, 3]
    for text, message in [
        ("\n".join(["id,split", *lines, "zz,train"]), "unknown ids: 1, first 'zz'"),
        ("\n".join(["id,split", *lines[:-1]]), "no line for ids: 1, first 'i19'"),
        ("\n".join(["id,split", *lines, lines[0]]), "repeated ids"),
        ("\n".join(["id,split", *lines]).replace(",val", ",dev"), "'dev' is not one of"),
        ("id\ni0", "needs the columns id and split"),
    ]:
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            make_splits(table, f"file:{path}")
    with pytest.raises(DataError, match="cannot read the split file"):
        make_splits(table, f"file:{tmp_path / 'none.csv'}")


def test_bad_schemes_name_the_fix():
    table = bare([0, 1] * 20, aux={"split": np.array(["test"] * 2 + ["train", "test"] * 19)})
    with pytest.raises(UnknownName, match="column:NAME"):
        make_splits(table, "stratifed")
    with pytest.raises(DataError, match=r"no column 'part'.*columns here: split"):
        make_splits(table, "column:part")
    with pytest.raises(DataError, match=r"class 1 has no training image"):
        make_splits(table, "official")
