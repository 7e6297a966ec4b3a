"""Predictions of foreign code: the row they become, and every way in which a file can be wrong."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ltbench.cli import main
from ltbench.errors import DataError, UserError
from ltbench.launch.external import add_predictions
from ltbench.launch.local import gather
from ltbench.results import load_results
from ltbench.results.foreign import matched, read_predictions
from ltbench.results.verify import verify

NAMES = ("a", "b", "c")
IDS, Y = np.array(["x", "y", "z"]), np.array([0, 1, 2])
GOOD = "id,b,a,c\nz,0.1,0.2,0.7\nx,0.2,0.5,0.3\ny,0.6,0.3,0.1\n"


def check(tmp_path, text):
    path = tmp_path / "p.csv"
    path.write_text(text)
    return matched(read_predictions(path, NAMES), IDS, Y)


def test_rows_and_columns_are_brought_in_order(tmp_path):
    assert check(tmp_path, GOOD) == pytest.approx(np.array([[0.5, 0.2, 0.3], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7]]))
    labelled = "id,label,a,b,c\nz,2,0.2,0.1,0.7\nx,a,0.5,0.2,0.3\ny,b,0.3,0.6,0.1\n"
    assert (check(tmp_path, labelled) == check(tmp_path, GOOD)).all()
    np.savez(tmp_path / "p.npz", ids=IDS[::-1], probs=np.eye(3)[[0, 1, 2]], class_names=["c", "b", "a"], y_true=Y[::-1])
    assert (matched(read_predictions(tmp_path / "p.npz", NAMES), IDS, Y) == np.eye(3)).all()


BAD = {
    "another id": (GOOD.replace("x,0.2", "x.png,0.2"), "test images: x; it holds x.png; use the ids"),
    "missing": (GOOD.replace("x,0.2,0.5,0.3\n", ""), "lacks 1 of the 3 test images: x"),
    "extra": (GOOD + "w,1,0,0\n", "1 images that are not in the test part: w"),
    "duplicate": (GOOD + "x,1,0,0\n", "holds x more than once"),
    "logits": (GOOD.replace("0.7", "3.7"), r"1 rows are no probabilities, first z.*sum 4"),
    "negative": (GOOD.replace("0.1,0.2,0.7", "-0.5,0.8,0.7"), "no probabilities, first z"),
    "nan": (GOOD.replace("0.7", "nan"), "no probabilities, first z"),
    "class name": (GOOD.replace("id,b,a,c", "id,b,a,d"), "wrong classes: missing c, unknown d"),
    "too many classes": (GOOD.replace("id,b,a,c", "id,b,a,c,d"), "wrong classes: missing none, unknown d"),
    "class twice": (GOOD.replace("id,b,a,c", "id,b,a,a"), "wrong classes: missing c"),
    "no id": (GOOD.replace("id,", "image,"), "no column 'id'"),
    "text": (GOOD.replace("0.7", "high"), "cannot be read as predictions"),
    "short row": (GOOD + "w,1\n", "more or fewer fields"),
    "label": (GOOD.replace("id,", "label,id,").replace("\n", "\n0,").removesuffix("0,"), "2 labels are not those"),
    "label name": (GOOD.replace("id,", "label,id,").replace("\n", "\nq,").removesuffix("q,"), "'q' is no class"),
    "empty": ("", "no column 'id'"),
    "header only": ("id,a,b,c\n", "lacks 3 of the 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(DataError, match=message):
        check(tmp_path, text)


def test_class_names_that_are_numbers_win_over_indices(tmp_path):
    (tmp_path / "p.csv").write_text("id,label,1,2\nx,2,0.1,0.9\ny,1,0.8,0.2\nz,0,0.8,0.2\n")
    assert read_predictions(tmp_path / "p.csv", ("1", "2")).labels.tolist() == [1, 0, 0]


def test_a_wrong_npz_is_refused(tmp_path):
    path = tmp_path / "p.npz"
    for columns, message in (
        ({"ids": IDS}, "cannot be read"),
        ({"ids": IDS, "probs": np.eye(4)}, "the data set has 3 classes"),
        ({"ids": IDS[:2], "probs": np.eye(3)}, "do not have one length"),
        ({"ids": IDS, "probs": np.eye(3), "class_names": ["a", "b", "d"]}, "wrong classes"),
    ):
        np.savez(path, **columns)
        with pytest.raises(DataError, match=message):
            read_predictions(path, NAMES)
    np.savez_compressed(path, ids=np.array([f"image-{k}" for k in range(200)]), probs=np.eye(200))
    whole = path.read_bytes()
    for at in range(0, len(whole), 29):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(DataError):
            read_predictions(path, NAMES)
    np.save(tmp_path / "p.npy", np.eye(3))
    (tmp_path / "p.npy").rename(path)
    with pytest.raises(DataError, match="cannot be read as predictions"):
        read_predictions(path, NAMES)
    path.write_bytes(b"junk")
    with pytest.raises(DataError, match="cannot be read as predictions"):
        read_predictions(path, NAMES)
    with pytest.raises(DataError, match="there is no"):
        read_predictions(tmp_path / "gone.csv", NAMES)


def test_a_row_from_foreign_code(tmp_path, capsys):
    data = gather({}, "digits-lt", "quick", 0, {}, None, "cpu").data
    rng, path, runs = np.random.default_rng(0), tmp_path / "p.csv", tmp_path / "runs"
    probs = rng.dirichlet(np.ones(10), len(data.test)) * 0.5 + 0.5 * np.eye(10)[data.test.labels]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *data.class_names])
        writer.writerows([i, *p] for i, p in zip(data.test.ids, probs, strict=True))
    place = ["--dataset", "digits-lt", "--protocol", "quick", "--out", str(runs)]
    assert main(["add-predictions", str(path), "--method", "theirs", *place]) == 0
    assert "theirs (external)" in capsys.readouterr().out
    frame = load_results(runs)
    assert frame["external"].tolist() == [True] and frame["accuracy"][0] == pytest.approx(
        (probs.argmax(axis=1) == data.test.labels).mean()
    )
    folder = frame["folder"][0]
    assert verify(folder) == []
    assert main(["add-predictions", str(path), "--method", "theirs", *place]) == 2
    assert "already in" in capsys.readouterr().err
    with np.load(f"{folder}/predictions.npz") as stored:
        columns = dict(stored) | {"probs": stored["probs"][:, ::-1]}
    np.savez(f"{folder}/predictions.npz", **columns)
    assert any("predictions.npz was changed" in problem for problem in verify(folder))
    assert any("test macro_f1" in problem for problem in verify(folder))


@pytest.mark.parametrize("name", ["ce", "<b>", "a b", "../x", ""])
def test_a_name_that_would_mislead_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="--method" if name != "ce" else "is a method of ltbench"):
        add_predictions(tmp_path / "p.csv", dataset="digits-lt", protocol="quick", method=name)
