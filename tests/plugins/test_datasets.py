from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ltbench
from ltbench.data import manage
from ltbench.data.prepare import prepare
from ltbench.errors import DataError, FetchNotAllowed, UnknownName

ROOT = Path(os.environ.get("LTBENCH_DATA") or Path(__file__).resolve().parents[2] / "../shared/data")
real = pytest.mark.skipif(not (ROOT / "aptos2019").is_dir(), reason="no real data here: set LTBENCH_DATA")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    before = os.environ.get("LTBENCH_CACHE")
    os.environ["LTBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("LTBENCH_CACHE") if before is None else os.environ.update(LTBENCH_CACHE=before)


def ready(name: str, size: int = 32, scheme: str | None = None, **cuts):
    dataset = ltbench.build("dataset", name)
    scheme = scheme or dataset.scheme
    return prepare(dataset, root=ROOT, stored_size=size, image_size=size, scheme=scheme, split_seed=0, **cuts)


def test_every_data_set_builds_and_states_its_facts():
    names = ltbench.names("dataset")
    assert len(names) >= 17
    for name in set(names) - {"folder"}:
        dataset = ltbench.build("dataset", name)
        assert dataset.name == name
        assert len(dataset.classes) >= 2
        assert dataset.licence != "unknown"
        assert dataset.homepage
        assert dataset.how_to_get


def test_listing_data_sets_imports_nothing_heavy():
    heavy = ("torch", "sklearn", "PIL")
    code = f"import ltbench, sys; ltbench.names('dataset'); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digits_are_a_long_tail_with_balanced_tests():
    got = ready("digits-lt", 8)
    assert got.train_counts.tolist() == [100, 72, 51, 37, 26, 19, 14, 10, 7, 5]
    assert np.bincount(got.test.labels).tolist() == [50] * 10
    assert np.bincount(got.val.labels).tolist() == [18] * 10
    assert got.train.images.shape[1:] == (8, 8, 1)
    assert got.train.images.max() == 255
    assert got.warnings == ()


def test_digits_ratio_is_nested_and_leaves_test_alone():
    mild, steep = (ltbench.build("dataset", "digits-lt", ratio=r).load(ROOT, 8) for r in (10, 50))
    assert set(steep.ids) < set(mild.ids)
    tests = [t.ids[t.aux["split"] == "test"].tolist() for t in (mild, steep)]
    assert tests[0] == tests[1]
    with pytest.raises(DataError, match=r"1\.\.100, got 1000"):
        ltbench.build("dataset", "digits-lt", ratio=1000)
    with pytest.raises(UnknownName, match="ratoi"):
        ltbench.build("dataset", "digits-lt", ratoi=3)


def test_judge_gets_balanced_digits_apart_from_the_test_part():
    dataset = ltbench.build("dataset", "digits-lt")
    full, table = dataset.balanced_train(8), dataset.load(ROOT, 8)
    assert np.bincount(full.labels).min() >= 106
    assert not set(full.ids) & set(table.ids[table.aux["split"] != "train"])
    assert set(table.ids[table.aux["split"] == "train"]) <= set(full.ids)
    assert dataset.load(ROOT, 28).images.shape[1:] == (28, 28, 1)


@real
def test_aptos_groups_and_published_split():
    got = ready("aptos")
    assert [len(t) for t in (got.train, got.val, got.test)] == [2564, 367, 731]
    assert not set(got.train.groups) & set(got.test.groups)
    assert len(set(got.train.groups) | set(got.val.groups) | set(got.test.groups)) == 3662 - 251 + 123
    published = ready("aptos", scheme="column:diffmic_split")
    assert [len(t) for t in (published.train, published.val, published.test)] == [2308, 256, 1098]
    assert np.bincount(published.test.labels).tolist() == [555, 96, 314, 52, 81]
    assert any(w.startswith("43 groups") for w in published.warnings)
    assert len(ready("aptos", scheme="80-20-released").test) == 731


@real
def test_ham_lesions_stay_on_one_side():
    got = ready("ham10000")
    assert [len(t) for t in (got.train, got.val, got.test)] == [7011, 1002, 2002]
    lesions = [set(t.aux["lesion_id"]) for t in (got.train, got.val, got.test)]
    assert not (lesions[0] & lesions[1] or lesions[0] & lesions[2] or lesions[1] & lesions[2])
    assert {"age", "sex", "localization"} <= set(got.train.aux)


@real
def test_breastmnist_has_its_official_parts():
    got = ready("breastmnist")
    assert [np.bincount(t.labels).tolist() for t in (got.train, got.val, got.test)] == [[147, 399], [21, 57], [42, 114]]
    assert got.train.images.shape[1:] == (32, 32, 1)
    assert got.train.images[:, :2].max() == 0


@real
def test_busi_and_crc():
    assert ready("busi").train.images.shape == (546, 32, 32, 1)
    assert len(ready("crc-polyp-he").test) == 1000


@real
@pytest.mark.parametrize(
    ("name", "twins", "contradictory"), [("aptos", 123, 30), ("busi", 1, 1), ("breastmnist", 1, 1)]
)
def test_check_finds_the_known_flaws(name, twins, contradictory):
    report = manage.check(ltbench.build("dataset", name), ROOT)
    assert report["counts_ok"] and not report["undecodable"]
    assert f"groups of identical images with different labels: {contradictory}" in report["problems"]
    assert len(report["duplicates"]) == twins
    assert len(report["contradictory"]) == contradictory


def medmnist_file(path: Path, size: int = 28, classes: int = 9, channels: int = 3, parts=(30, 10, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, n in zip(("train", "val", "test"), parts, strict=True):
        shape = (n, size, size, 3) if channels == 3 else (n, size, size)
        arrays[f"{part}_images"] = np.random.default_rng(n).integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % classes)[:, None].astype(np.uint8)
    np.savez(path, **arrays)


@pytest.mark.parametrize("place", ["pathmnist_64.npz", "pathmnist/pathmnist_64.npz"])
def test_medmnist_of_any_size(tmp_path, place):
    medmnist_file(tmp_path / place, 64)
    dataset = ltbench.build("dataset", "pathmnist", size=64)
    assert dataset.native_size == 64
    assert dataset.load(tmp_path, 64).images.shape == (50, 64, 64, 3)
    assert dataset.load(tmp_path, 32).images.shape == (50, 32, 32, 3)
    with pytest.raises(DataError, match=r"pathmnist\.npz"):
        ltbench.build("dataset", "pathmnist").load(tmp_path, 28)


def test_medmnist_wrong_files(tmp_path):
    dataset = ltbench.build("dataset", "breastmnist")
    (tmp_path / "breastmnist.npz").write_bytes(b"torn")
    with pytest.raises(DataError, match="not a complete MedMNIST file"):
        dataset.load(tmp_path, 28)
    medmnist_file(tmp_path / "breastmnist.npz", channels=1)
    with pytest.raises(DataError, match=r"labels .* not those of breastmnist"):
        dataset.load(tmp_path, 28)
    medmnist_file(tmp_path / "breastmnist.npz", classes=2)
    with pytest.raises(DataError, match="not those of breastmnist"):
        dataset.load(tmp_path, 28)
    with pytest.raises(DataError, match="28, 64, 128, 224, got 32"):
        ltbench.build("dataset", "breastmnist", size=32)


def test_medmnist_import_and_missing_package(tmp_path, monkeypatch):
    dataset = ltbench.build("dataset", "breastmnist")
    monkeypatch.setitem(sys.modules, "medmnist.info", None)
    with pytest.raises(FetchNotAllowed, match=r"pip install 'ltbench\[medmnist\]'"):
        manage.fetch(dataset, tmp_path)
    medmnist_file(tmp_path / "download.npz", channels=1, classes=2)
    assert manage.import_data(tmp_path / "download.npz", dataset, tmp_path) == tmp_path / "breastmnist/breastmnist.npz"
    assert len(dataset.load(tmp_path, 28)) == 50


@pytest.mark.skipif(importlib.util.find_spec("medmnist") is None, reason="medmnist is an extra")
def test_medmnist_facts_equal_the_packages():
    from medmnist.info import INFO

    for name in (n for n in ltbench.names("dataset") if n.endswith("mnist")):
        dataset = ltbench.build("dataset", name)
        facts = INFO[name]
        assert len(dataset.classes) == len(facts["label"])
        assert dataset.channels == facts["n_channels"]
        assert dict(zip(("train", "val", "test"), dataset.part_sizes, strict=True)) == facts["n_samples"]


def test_kaggle_steps_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(FetchNotAllowed, match=r"ltbench data import aptos PATH"):
        manage.fetch(ltbench.build("dataset", "aptos"), tmp_path)
    with pytest.raises(FetchNotAllowed, match="no download"):
        manage.fetch(ltbench.build("dataset", "crc-polyp-he"), tmp_path)


def test_fetch_downloads_and_imports(tmp_path, monkeypatch):
    from PIL import Image

    source = tmp_path / "published/Dataset_BUSI_with_GT"
    for name in ("normal", "benign", "malignant"):
        (source / name).mkdir(parents=True)
        Image.new("L", (8, 8), len(name)).save(source / name / f"{name} (1).png")
    import shutil

    archive = shutil.make_archive(str(tmp_path / "busi"), "zip", tmp_path / "published")

    def fake(url: str, target: Path, **_: object) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(archive, target))

    monkeypatch.setattr("ltbench.data.download.download", fake)
    done = manage.fetch(ltbench.build("dataset", "busi"), tmp_path / "root")
    assert done["fetched"]
    assert (tmp_path / "root/busi/labels.csv").read_text().count("\n") == 4


def test_folder_takes_classes_from_what_it_finds(tmp_path):
    from PIL import Image

    for name in ("zebra", "ant"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("RGB", (8, 8), (i, 0, len(name))).save(tmp_path / name / f"{i}.png")
    dataset = ltbench.build("dataset", "folder", path=str(tmp_path))
    assert dataset.classes == ("ant", "zebra")
    assert dataset.load(Path(), 8).labels.tolist() == [0] * 10 + [1] * 10
    with pytest.raises(DataError, match="does not exist"):
        ltbench.build("dataset", "folder", path=str(tmp_path / "none"))


@real
def test_folder_reads_the_packed_layout():
    dataset = ltbench.build("dataset", "folder", path=str(ROOT / "busi"), channels=1)
    assert dataset.classes == ("normal", "benign", "malignant")
    assert dataset.load(Path(), 32).images.shape == (780, 32, 32, 1)
