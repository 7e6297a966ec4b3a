from __future__ import annotations

import ast
import csv
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltbench.cli import main
from ltbench.data import manage
from ltbench.data.folders import FolderDataset
from ltbench.data.layouts import read_layout
from ltbench.data.prepare import prepare
from ltbench.data.roots import cache_root, data_root
from ltbench.data.tables import linked
from ltbench.errors import DataError, FetchNotAllowed
from ltbench.plugins import plugins


class Skin(FolderDataset):
    name = "skin"
    folders = ("skin", "Skin-published")
    classes = ("nv", "mel")
    aliases: Mapping[str, str] = {"nevus": "nv"}
    group_columns = ("lesion_id", "duplicate_group")
    licence = "CC0"
    homepage = "https://example.org"
    how_to_get = "ask the authors"
    official_counts: Mapping[str, tuple[int, ...]] = {"all": (20, 20)}


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def packed(folder: Path, labels: list[str], header: str = "file,id,label,lesion_id", images: int = -1) -> None:
    lines = [f"p{i}.png,p{i},{label},L{i // 2}" for i, label in enumerate(labels)]
    write(folder / "labels.csv", "\n".join([header, *lines]))
    for i in range(len(labels) if images < 0 else images):
        write(folder / "images" / f"p{i}.png", png(i))


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return target


def test_packed_folder_and_archive_are_the_same_table(tmp_path):
    packed(tmp_path / "a/skin", ["0", "1"] * 20)
    packed(tmp_path / "b/skin", ["0", "1"] * 20)
    zipped(tmp_path / "b/skin/images", tmp_path / "b/skin/images.zip")
    one, two = (Skin().load(tmp_path / x, 6) for x in "ab")
    assert one.content == two.content
    assert (one.images == two.images).all()
    assert one.groups[0] == one.groups[1] != one.groups[2]
    assert one.aux["label_name"][:2].tolist() == ["nv", "mel"]


def test_kaggle(tmp_path):
    write(tmp_path / "train.csv", "id_code,diagnosis\nx1,0\nx2,1\n")
    for name in ("x1", "x2"):
        write(tmp_path / f"train_images/{name}.png", png(1))
    write(tmp_path / "test_images/x3.png", png(2))
    found = read_layout(tmp_path)
    assert (found.layout, found.ids, found.classes) == ("kaggle", ("x1", "x2"), ("0", "1"))


def test_isic_archives_side_by_side(tmp_path):
    images, truth = tmp_path / "i", tmp_path / "t"
    for name in ("ISIC_1", "ISIC_2"):
        write(images / f"Input/{name}.jpg", png(1))
    write(images / "Input/ATTRIBUTION.txt", "")
    write(
        truth / "T/ISIC2018_Task3_Training_GroundTruth.csv",
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_1,1.0,0,0,0,0,0,0\nISIC_2,0.0,1.0,0,0,0,0,0\n",
    )
    source = tmp_path / "source"
    write(
        source / "ISIC2018_Task3_Training_LesionGroupings.csv",
        "image,lesion_id,diagnosis_confirm_type\nISIC_1,H1,histo\nISIC_2,H1,histo\n",
    )
    zipped(images, source / "Input.zip")
    zipped(truth, source / "Truth.zip")
    found = read_layout(source)
    assert found.classes == ("mel", "nv")
    assert found.columns["lesion_id"] == ("H1", "H1")
    target = manage.import_data(source, Skin(), tmp_path / "root")
    assert read_layout(target).columns["lesion_id"] == ("H1", "H1")
    assert read_layout(target).columns["duplicate_group"] == ("1", "1")


def test_ham_metadata(tmp_path):
    write(
        tmp_path / "HAM10000_metadata.csv",
        "lesion_id,image_id,dx,dx_type,age,sex,localization\nH1,a,nv,f,50.0,male,back\n",
    )
    write(tmp_path / "part_1/a.jpg", png(1))
    found = read_layout(tmp_path)
    assert (found.classes, found.columns["age"], found.files) == (("nv",), ("50.0",), ("part_1/a.jpg",))


def test_class_folders_without_masks_and_with_parts(tmp_path):
    for part in ("train", "test"):
        for name in ("benign (1)", "benign (1)_mask", ".hidden"):
            write(tmp_path / f"set/{part}/benign/{name}.png", png(1))
    found = read_layout(tmp_path)
    assert found.classes == ("benign", "benign")
    assert found.columns["split"] == ("test", "train")
    assert read_layout(zipped(tmp_path / "set", tmp_path / "z.zip")).classes == ("benign", "benign")


@pytest.mark.parametrize(
    ("labels", "images", "header", "message"),
    [
        (["0", "1"], 1, "file,id,label,lesion_id", r"1 of 2 images are missing .* first '.*p1.png'"),
        (["0", "2"], 2, "file,id,label,lesion_id", r"label '2' .* not one of the 2 classes"),
        (["0", "1"], 2, "name,id,label,lesion_id", r"needs the columns file and label"),
    ],
)
def test_incomplete_and_wrong_folders(tmp_path, labels, images, header, message):
    packed(tmp_path / "skin", labels, header, images)
    with pytest.raises(DataError, match=message):
        Skin().load(tmp_path, 6)


def test_absent_data_say_where_and_how(tmp_path):
    with pytest.raises(DataError) as caught:
        Skin().load(tmp_path, 6)
    text = str(caught.value)
    for piece in (str(tmp_path / "skin"), "Skin-published", "ltbench data fetch skin", "CC0", "--data-root"):
        assert piece in text
    with pytest.raises(FetchNotAllowed, match="ask the authors"):
        manage.fetch(Skin(), tmp_path)
    write(tmp_path / "skin/readme.txt", "")
    with pytest.raises(DataError, match="holds no layout"):
        Skin().load(tmp_path, 6)


def test_broken_archive(tmp_path):
    packed(tmp_path / "skin", ["0", "1"])
    (tmp_path / "skin/images.zip").write_bytes(b"PK\3\4 torn")
    with pytest.raises(DataError, match="not a complete ZIP archive"):
        Skin().load(tmp_path, 6)


def test_wrong_counts_warn(tmp_path):
    packed(tmp_path / "skin", ["0", "1"] * 10)
    got = prepare(Skin(), root=tmp_path, stored_size=6, image_size=6, scheme="stratified", split_seed=0)
    assert (
        "skin: images per class [10, 10] differ from the published [20, 20]; run: ltbench data check skin"
        in got.warnings
    )


def test_unlabelled_rows(tmp_path):
    packed(tmp_path / "skin", ["nevus", "mel", "", "-1"])
    with pytest.warns(UserWarning, match="differ from the published"):
        table = Skin().load(tmp_path, 6)
    assert table.labels.tolist() == [0, 1, -1, -1]
    extra = Skin().unlabeled(tmp_path, 6)
    assert extra is not None
    assert extra.ids.tolist() == ["p2", "p3"]


def test_links_are_transitive():
    ids = np.array(list("abcdef"))
    groups = linked(ids, [np.array(["L1", "L1", "L2", "", "", ""]), np.array(["0", "1", "1", "0", "2", "2"])])
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 3


def test_import_status_and_check(tmp_path):
    source, root = tmp_path / "source", tmp_path / "root"
    for i in range(40):
        write(source / ("nevus" if i % 2 else "mel") / f"{i}.png", png(min(i, 38)))
    write(source / "mel/40.png", png(1))  # the pixels of a nevus
    assert manage.status({"skin": Skin()}, root)[0]["state"] == "missing"
    target = manage.import_data(zipped(source, tmp_path / "s.zip"), Skin(), root)
    assert target == root / "skin"
    with zipfile.ZipFile(target / "images.zip") as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
    with (target / "labels.csv").open() as stream:
        assert sum(line["duplicate_group"] != "0" for line in csv.DictReader(stream)) == 4
    assert manage.fetch(Skin(), root)["fetched"] is False
    line = manage.status({"skin": Skin()}, root)[0]
    assert (line["state"], line["path"]) == ("ready", str(target))
    report = manage.check(Skin(), root)
    assert report["counts"] == [20, 21]
    assert not report["counts_ok"]
    assert len(report["duplicates"]) == 2
    assert len(report["contradictory"]) == 2
    assert report["duplicates_across_splits"] == []
    differ, labels = "images per class differ from the published", "groups of identical images with different labels: 2"
    assert report["problems"] == [differ, labels]
    with pytest.raises(DataError, match="exists already"):
        manage.import_data(source, Skin(), root)
    assert [p.name for p in root.iterdir()] == ["skin"]


def test_failed_import_leaves_nothing(tmp_path):
    write(tmp_path / "source/unknown/1.png", png(1))
    with pytest.raises(DataError, match="'unknown'"):
        manage.import_data(tmp_path / "source", Skin(), tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_check_finds_damage_and_leaks(tmp_path):
    packed(tmp_path / "skin", ["0", "1"] * 20)
    write(tmp_path / "skin/images/p3.png", b"")
    for i in range(0, 40, 2):
        write(tmp_path / f"skin/images/p{i}.png", png(0))
    report = manage.check(Skin(), tmp_path)
    assert report["counts_ok"]
    assert [Path(name).name for name in report["undecodable"]] == ["p3.png"]
    assert len(report["duplicates_across_splits"]) == 1
    assert report["problems"] == [
        "files that are no images: 1",
        "groups of identical images in several parts of the split: 1",
    ]


def test_an_unlabelled_twin_contradicts_nobody(tmp_path):
    packed(tmp_path / "skin", ["0", "1"] * 20 + [""])
    write(tmp_path / "skin/images/p40.png", png(0))
    report = manage.check(Skin(), tmp_path)
    assert (report["duplicates"], report["contradictory"]) == ([["p0", "p40"]], [])
    assert report["problems"] == []


def test_data_on_the_command_line(tmp_path, capsys):
    def data(*words):
        status = main(["data", *words, "--data-root", str(tmp_path / "root")])
        out, err = capsys.readouterr()
        return status, (out + err).splitlines()

    there, mine = tmp_path / "root" / "busi", tmp_path / "mine"
    there.mkdir(parents=True)
    status, (line,) = data("import", "busi", str(tmp_path / "gone"))
    assert status == 2 and f"there is no {tmp_path / 'gone'}" in line and "delete" not in line
    assert data("fetch", "busi") == (0, [f"busi is there already: {there}"])
    assert data("fetch", "digits-lt") == (0, ["digits-lt names no files below the data root: nothing is left to fetch"])
    for i in range(40):
        write(mine / f"{'ab'[i % 2]}/{i}.png", png(i))
    status, lines = data("check", f"folder:{mine}")
    assert (status, lines[-1]) == (0, "problems: none")
    write(mine / "b/40.png", png(0))
    status, lines = data("check", f"folder:{mine}")
    assert status == 1 and lines[-1].startswith("problems: groups of identical images ")
    assert lines[-1].endswith("groups of identical images with different labels: 1")
    for i in range(20):
        write(mine / f"b/twin{i}.png", png(2 * i + 1))
    short, whole = (
        dict(line.split(": ", 1) for line in data("check", f"folder:{mine}", *more)[1]) for more in ((), ("--all",))
    )
    assert short["duplicates"].startswith("21, the first 5 (all: --all): [[") and short["counts"] == "[20, 41]"
    assert len(ast.literal_eval(whole["duplicates"])) == 21 and len(short["duplicates"]) < len(whole["duplicates"]) / 2
    _, lines = data("status", "ham10000")
    assert lines[-2:] == [
        "how to get the rest:",
        f"  ham10000: {plugins().registry.get('dataset', 'ham10000').build().how_to_get}",
    ]


def test_roots(monkeypatch, tmp_path):
    monkeypatch.setenv("LTBENCH_DATA", "/somewhere")
    assert data_root(None) == Path("/somewhere")
    assert data_root(tmp_path) == tmp_path
    monkeypatch.delenv("LTBENCH_DATA")
    assert "ltbench" in str(data_root(None))
    monkeypatch.delenv("LTBENCH_CACHE")
    assert "ltbench" in str(cache_root())
