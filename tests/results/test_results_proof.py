"""Comparison, verification and packing."""

from __future__ import annotations

import json
import re
import tarfile

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.metrics import mcnemar
from ltbench.results import load_results
from ltbench.results.compare import compare
from ltbench.results.comparison import comparison
from ltbench.results.files import sha256
from ltbench.results.pack import pack
from ltbench.results.verify import verify, verify_all


@pytest.fixture
def two(tmp_path, cell):
    for seed in range(2):
        cell("ce", seed, skill=0.8)
        cell("iois", seed, skill=2.5)
    return tmp_path


def test_compare_pairs_by_seed(two):
    frame = load_results(two)
    got = comparison(frame, "ce", "iois")
    means = frame.groupby("method")["macro_f1"].mean()
    gap = got.differences["macro_f1"]
    assert gap.value == pytest.approx(means["iois"] - means["ce"])
    assert gap.low < gap.images_low < gap.value < gap.images_high < gap.high and gap.images_p < 0.01 < gap.wilcoxon_p
    assert got.seeds == (0, 1) and got.n_images == 120 and len(got.mcnemar) == len(got.n_differ) == 2
    assert (got.recall_b > got.recall_a).all() and max(p for *_, p in got.mcnemar) < 0.01
    text = compare(two, "ce", "iois")
    assert "iois minus ce on digits-lt, protocol quick, weights none, split stratified seed 0" in text
    assert "untuned defaults, percent; seeds 0, 1, 120 test images" in text
    assert "McNemar exact p" in text and "zero" in text and text == compare(frame, "ce", "iois")
    tables = json.loads(compare(two, "ce", "iois", fmt="json"))
    assert {row["table"] for table in tables for row in table["rows"]} == {"metrics", "classes", "images"}
    assert tables[1]["rows"][0].keys() >= {"class", "a", "a_low", "b_high"}
    assert tables[2]["rows"][0]["class"] in {"zero", "one", "two", "three"}
    assert tables[0]["rows"][0]["metric"] == "macro_f1" and tables[0]["rows"][0]["difference"] == gap.value
    assert "no stars: the exact Wilcoxon test of 2 seeds cannot go below p = 0.5" in text and "*" not in text


def test_compare_lists_the_images_that_differ(two):
    got = comparison(two, "ce", "iois")
    assert len(got.images) > 10 and got.images[0].gain == 2 and got.images[0].id.startswith("image-")
    assert sum(image.gain for image in got.images) == sum(b - a for a, b, _ in got.mcnemar)
    short, whole = compare(two, "ce", "iois"), compare(two, "ce", "iois", all_images=True)
    assert f"{len(got.images)} images answered differently, 10 of them" in short and "--images" in short
    assert all(image.id in whole for image in got.images) and "--images" not in whole


def test_compare_of_one_seed_says_what_it_cannot_know(tmp_path, cell):
    cell("ce", 0, skill=0.5)
    cell("iois", 0, skill=4.0)
    got = comparison(tmp_path, "ce", "iois")
    gap = got.differences["macro_f1"]
    assert (gap.low, gap.high, gap.p) == (gap.images_low, gap.images_high, gap.images_p) and gap.p < 0.01
    assert np.isnan(gap.detectable) and gap.more is None
    text = compare(tmp_path, "ce", "iois")
    assert "iois higher (these models)" in text and "one seed:" in text and "no stars" in text


def test_compare_of_equal_methods_is_a_tie(tmp_path, cell):
    for seed in range(2):
        with_ce, other = cell("ce", seed), cell("same", seed)
        np.savez(other.folder / "predictions.npz", **dict(np.load(with_ce.folder / "predictions.npz")))
    got = comparison(tmp_path, "ce", "same")
    assert {d.p for d in got.differences.values()} == {1.0} and got.images == []
    assert compare(tmp_path, "ce", "same").count("tie") == 3


def test_stars_need_six_seeds(tmp_path, cell):
    for seed in range(6):
        cell("ce", seed, skill=0.5)
        cell("iois", seed, skill=4.0)
    assert "iois higher *" in compare(tmp_path, "ce", "iois")
    few = load_results(tmp_path)
    few = few[few["seed"] < 5]
    assert "iois higher" in compare(few, "ce", "iois") and "higher *" not in compare(few, "ce", "iois")


def test_compare_with_a_class_absent_from_the_test_part(tmp_path, cell):
    y = np.arange(120) % 3
    for method in ("ce", "iois"):
        result = cell(method, 0)
        columns = dict(np.load(result.folder / "predictions.npz")) | {"y_true": y}
        np.savez(result.folder / "predictions.npz", **columns)
    got = comparison(tmp_path, "ce", "iois")
    assert got.recall[3].n == 0 and np.isnan([got.recall[3].a, got.recall[3].p_holm, *got.recall[3].b_interval]).all()
    assert not np.isnan([row.p_holm for row in got.recall[:3]]).any()
    assert "no test image of three" in compare(tmp_path, "ce", "iois")


def test_splits_of_one_protocol_are_levels_of_the_interval(tmp_path, cell):
    for seed in range(4):
        split = {"split": {"scheme": "stratified", "seed": seed // 2}}
        ids = [f"split{seed // 2}-{k}" for k in range(120)]
        cell("ce", seed, skill=0.8, data=split, ids=ids)
        cell("iois", seed, skill=2.5, data=split, ids=ids)
    got = comparison(tmp_path, "ce", "iois")
    assert got.n_splits == 2 and got.seeds == (0, 1, 2, 3) and "in each of 2 splits" in compare(tmp_path, "ce", "iois")


def test_each_line_names_its_own_seed_and_split(tmp_path, cell):
    """Two seeds on each of two splits: none is left out, and McNemar's numbers are those of the cells they name."""
    kept = {}
    for split in range(2):
        data = {"split": {"scheme": "stratified", "seed": split}}
        ids = [f"split{split}-{k}" for k in range(120)]
        for seed in (0, 1):
            one = cell("ce", seed, skill=0.8 + seed + split, data=data, ids=ids, cell={"data": f"split {split}"})
            two = cell("iois", seed, skill=2.5, data=data, ids=ids, cell={"data": f"split {split}"})
            answers = [r.predictions.probs.argmax(axis=1) for r in (one, two)]
            kept[split, seed] = mcnemar(one.predictions.y_true, *answers)
    got = comparison(tmp_path, "ce", "iois")
    assert dict(zip(zip(got.split_seeds, got.seeds, strict=True), got.mcnemar, strict=True)) == kept
    text = compare(tmp_path, "ce", "iois")
    assert (
        "split stratified seeds 0, 1" in text and f"only ce right {kept[1, 0][0]}," in text.split("split 1, seed 0:")[1]
    )


def test_compare_takes_the_conditions_that_both_have(two, cell):
    """A second imbalance: with one side alone it is passed over, with both it must be chosen."""

    def at(imbalance):
        recipe = {"dataset": {"name": "digits-lt", "imbalance": imbalance}, "loss": {"name": "x"}}
        return {"recipe": recipe}

    cell("ce", 0, skill=0.1, cell=at(50), finished="2027-01-01")
    assert "(set to 20)" in compare(two, "ce", "iois") and "(set to 50)" not in compare(two, "ce", "iois")
    cell("iois", 0, skill=0.1, cell=at(50), finished="2027-01-01")
    with pytest.raises(UserError, match=r"several conditions \(imbalance 20; imbalance 50\); choose.*--imbalance"):
        compare(two, "ce", "iois")
    assert comparison(two, "ce", "iois", imbalance="20").seeds == (0, 1)
    assert comparison(two, "ce", "iois", imbalance="50").seeds == (0,)
    with pytest.raises(UserError, match="no stored result of ce has imbalance 3"):
        compare(two, "ce", "iois", imbalance="3")
    cell("alone", 0, cell=at(None))
    with pytest.raises(UserError, match=r"differ in imbalance \(20, 50 and default\)"):
        compare(two, "ce", "alone")


def test_compare_aligns_images_by_id(tmp_path, cell):
    one = cell("ce", 0)
    two = cell("iois", 0)
    pred = [r.predictions.probs.argmax(axis=1) for r in (one, two)]
    with np.load(two.folder / "predictions.npz") as stored:
        columns = {name: stored[name][::-1] for name in stored.files}
    np.savez(two.folder / "predictions.npz", **columns)
    got = comparison(tmp_path, "ce", "iois")
    assert got.mcnemar[0] == mcnemar(one.predictions.y_true, *pred)


def test_compare_refuses_what_is_not_comparable(two, cell):
    cell("focal", 0, protocol="standard")
    cell("sqrt", 9)
    cell("other-ids", 0, ids=[f"foreign-{k}" for k in range(120)])
    cell("other-data", 0, data={"content": "changed"})
    cell("both-other", 0, ids=[f"foreign-{k}" for k in range(120)], data={"content": "f" * 64})
    for method, message in {
        "focal": "with protocol quick and focal with standard: not comparable",
        "sqrt": "none in common",
        "other-ids": r"different images.*120 images \(image-0, image-1, image-10, \.\.\.\) only in the first",
        "other-data": r"differ in content \(content and changed\)",
        "both-other": r"tested on different images.*120 images \(image-0",
        "ce": "ce is to be compared with itself; name two methods",
        "missing": "no stored result of method 'missing'",
    }.items():
        with pytest.raises(UserError, match=message):
            compare(two, "ce", method)
    with pytest.raises(UserError, match="no common results under dataset 'aptos'"):
        compare(two, "ce", "iois", dataset="aptos")
    cell("ce", 0, protocol="standard")
    cell("iois", 0, protocol="standard")
    with pytest.raises(UserError, match="choose one with --protocol"):
        compare(two, "ce", "iois")
    assert "protocol standard" in compare(two, "ce", "iois", protocol="standard")


def test_an_honest_result_verifies(cell):
    assert verify(cell().folder) == []


def edit(folder, change):
    path = folder / "result.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def rehash(folder):
    edit(folder, lambda data: data["files"].update({"predictions.npz": sha256(folder / "predictions.npz")}))


TAMPERED = {
    "metric": (lambda d: d["metrics"]["test"].update(macro_f1=0.99), r"test macro_f1 is 0\.99"),
    "nan": (lambda d: d["metrics"]["test"].update(mcc=None), "test mcc is nan"),
    "list": (lambda d: d["metrics"]["test"]["per_class_recall"].reverse(), "test per_class_recall"),
    "recipe": (lambda d: d["cell"]["recipe"].update(loss="focal"), "its recipe gives"),
    "hash": (lambda d: d["cell"].update(hash="0" * 64), "should be called seed0-00000000"),
    "counts": (lambda d: d["data"].update(test_counts=[1, 2, 3, 4]), "test class counts are"),
    "size": (lambda d: d["data"]["sizes"].update(test=7), "test part has 7 images"),
    "score": (lambda d: d["selection"].update(score=0.001), "selected at macro_f1"),
    "cost": (lambda d: d.setdefault("cost", {}).update(total_seconds=1), "its own checksum is not the recorded one"),
    "warnings": (lambda d: d.update(warnings=["none"]), "its own checksum is not the recorded one"),
    "no checksums": (lambda d: d.pop("files"), "records no checksums"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_record_is_named(cell, name):
    change, message = TAMPERED[name]
    folder = cell().folder
    edit(folder, change)
    problems = verify(folder)
    assert problems and any(message in p or re.search(message, p) for p in problems), problems
    assert all("result.json" in p or "should be called" in p for p in problems)


def test_a_record_without_a_digest_of_its_own_proves_less(cell):
    folder = cell().folder
    edit(folder, lambda data: data.pop("digest"))
    (problem,) = verify(folder)
    assert problem.startswith(f"{folder / 'result.json'} has no checksum of its own: its cost")


def test_tampered_and_missing_files_are_named(cell):
    folder = cell().folder
    (folder / "history.jsonl").write_text("{}\n")
    (folder / "config.json").unlink()
    (folder / "samples.png").write_bytes(b"x")
    problems = " ".join(verify(folder))
    assert "history.jsonl was changed" in problems and "config.json is missing" in problems
    assert "samples.png appeared" in problems


def test_tampered_predictions_are_found_even_with_a_new_checksum(cell):
    folder = cell().folder
    with np.load(folder / "predictions.npz") as stored:
        columns = {name: stored[name].copy() for name in stored.files}
    columns["probs"][:40] = columns["probs"][:40, ::-1]
    np.savez(folder / "predictions.npz", **columns)
    assert any("predictions.npz was changed" in p for p in verify(folder))
    rehash(folder)
    assert any("test macro_f1" in p for p in verify(folder))


def test_leaks_between_the_parts_are_found(cell):
    assert any("test and train share 1 image" in p for p in verify(cell(splits={"train": ["image-3"]}).folder))
    test = [f"image-{k}" for k in range(120)]
    assert any("test and val share 120 images" in p for p in verify(cell("a", splits={"val": test}).folder))
    assert verify(cell("b", splits={"val": test}, data={"validation_is_test": True}).folder) == []
    assert any("is not the images" in p for p in verify(cell("c", splits={"test": test[1:]}).folder))


def test_a_selection_without_a_score_is_fine(cell):
    assert (
        verify(cell(record={"selection": {"split": "val", "metric": "macro_f1", "score": float("nan")}}).folder) == []
    )


def test_broken_folders_do_not_raise(cell):
    folder = cell().folder
    (folder / "predictions.npz").write_bytes(b"junk")
    assert any("cannot be recomputed" in p for p in verify(folder))
    (folder / "result.json").unlink()
    assert "unfinished" in verify(folder)[0]


def test_pack_is_deterministic_and_without_weights(two, tmp_path):
    folder = next(two.glob("digits-lt/ce/quick/*"))
    (folder / "model.safetensors").write_bytes(b"weights")
    first = [path.read_bytes() for path in pack(two, tmp_path / "out" / "a.tar.gz")]
    (folder / "history.jsonl").touch()
    second = [path.read_bytes() for path in pack(two, tmp_path / "out" / "b.tar.gz")]
    assert first == second and len(first) == 1
    with tarfile.open(tmp_path / "out" / "a.tar.gz") as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert len(names) == 20 and not any("safetensors" in name for name in names)
    frame = load_results(tmp_path / "unpacked")
    assert len(frame) == 4 and all(verify(path) == [] for path in frame["folder"])


def test_pack_in_parts(two, tmp_path):
    limit = 64 / 1024
    paths = pack(two, tmp_path / "out" / "p.tar", part_size=limit)
    assert [path.name for path in paths[:2]] == ["p.tar", "p-2.tar"]
    assert all(path.stat().st_size <= limit * 2**20 for path in paths)
    for path in paths:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
    assert len(load_results(tmp_path / "unpacked")) == 4
    with pytest.raises(UserError, match="raise --part-size"):
        pack(two, tmp_path / "out" / "q.tar", part_size=0.001)


def test_an_archive_is_verified_by_its_content(two, tmp_path):
    (archive,) = pack(two, tmp_path / "out" / "a.tar.gz")
    found = verify_all(archive)
    assert len(found) == 4 and not any(found.values()) and all(name.startswith(str(archive)) for name in found)
    path = next(two.glob("digits-lt/ce/quick/*")) / "history.jsonl"
    path.write_text("changed")
    with pytest.warns(UserWarning, match=r"history.jsonl was changed after the run.*packed as it is"):
        packed = pack(two, tmp_path / "out" / "b.tar")
    found = verify_all(packed[0])
    (problem,) = [text for problems in found.values() for text in problems]
    assert problem.startswith(f"{tmp_path / 'out' / 'b.tar'}/digits-lt/ce/quick/") and "was changed" in problem


@pytest.mark.parametrize("name", ["../result.json", "/tmp/result.json", "a/evil.py"])
def test_a_foreign_archive_is_not_unpacked(tmp_path, name):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="which ltbench pack never writes"):
        verify_all(path)
    assert not (tmp_path / "evil.py").exists()


def test_what_holds_no_cell_is_told_apart(two, tmp_path):
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "empty").mkdir()
    (archive,) = pack(two, tmp_path / "out" / "a.tar.gz")
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:-3000])
    cases = {
        "gone": "there is no",
        "empty": "holds no cell",
        "junk": "cannot be read as",
        "cut.tar.gz": "cannot be read",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as raised:
            verify_all(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_pack_writes_over_archives_alone(two, tmp_path):
    other = tmp_path / "notes.tar"
    other.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.tar is there and is no archive"):
        pack(two, other)
    assert other.read_text() == "mine"
    assert pack(two, tmp_path / "a.tar") == pack(two, tmp_path / "a.tar")


def test_nothing_to_pack(tmp_path):
    with pytest.raises(UserError, match="no finished cell"):
        pack(tmp_path, tmp_path / "x.tar")
