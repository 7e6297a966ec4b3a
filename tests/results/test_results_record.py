"""The record: written last and whole, read back equal, broken in every way."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from ltbench.cli import main
from ltbench.errors import CheckpointError, ContractError, LtbenchError
from ltbench.results import SCHEMA, iter_results, load_results, read_result, status, write_result
from ltbench.results.files import atomic_write, to_json
from ltbench.results.verify import verify


def test_round_trip(cell):
    result = cell("ce", 2)
    again = read_result(result.folder)
    assert again.cell["seed"] == 2 and again.data["schema"] == SCHEMA
    assert again.metrics == result.metrics and again.metrics["n_absent"] == 0
    assert again.predictions.ids[0] == "image-0" and again.predictions.ids.dtype.kind == "U"
    assert again.predictions.y_true.dtype == np.int64 and again.predictions.val_probs.dtype == np.float32
    assert again.history[1]["epoch"] == 1 and math.isnan(again.history[1]["loss"])
    assert sorted(again.data["files"]) == ["config.json", "history.jsonl", "predictions.npz", "splits.json"]


def test_row_is_flat(cell):
    row = cell().row()
    assert all(isinstance(value, str | int | float | bool | type(None)) for value in row.values())
    assert row["macro_f1"] == row["val.macro_f1"] and row["generation.fd[ref]"] == 1.5
    assert row["seconds"] == 30.0 and row["device_seconds"] == 20.0 and row["imbalance"] == 20 and row["n_train"] == 295


def test_nan_is_null_on_disk_and_nan_in_memory(cell):
    result = cell(record={"metrics": {"test": {"auc": math.nan, "per_class_f1": [0.5, np.nan]}, "val": {}}})
    stored = json.loads((result.folder / "result.json").read_text())
    assert stored["metrics"]["test"] == {"auc": None, "per_class_f1": [0.5, None]}
    assert math.isnan(result.metrics["auc"]) and math.isnan(result.metrics["per_class_f1"][1])
    mixed = {"x": np.float32("inf"), "y": np.int64(3), "z": (1, np.array([2]))}
    assert json.loads(to_json(mixed)) == {"x": None, "y": 3, "z": [1, [2]]}


def test_the_same_cell_writes_the_same_bytes(tmp_path, cell):
    first = cell()
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    shutil.rmtree(first.folder)
    assert {path.name: path.read_bytes() for path in cell().folder.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "corrupt"),
        ("[]", "not written by ltbench"),
        ('{"cell": 1}', "not written by ltbench"),
        ('{"schema": 1}', "lacks"),
        (f'{{"schema": {SCHEMA + 6}}}', f"schema {SCHEMA + 6}, this ltbench reads up to {SCHEMA}; upgrade ltbench"),
    ],
)
def test_broken_records(cell, text, message):
    folder = cell().folder
    (folder / "result.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_result(folder)


def test_missing_and_torn_predictions(cell):
    folder = cell().folder
    (folder / "predictions.npz").write_bytes((folder / "predictions.npz").read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        _ = read_result(folder).predictions
    (folder / "predictions.npz").unlink()
    with pytest.raises(CheckpointError, match=r"predictions\.npz is missing"):
        read_result(folder)
    with pytest.raises(CheckpointError, match="unfinished"):
        read_result(folder.parent)


def test_a_flipped_byte_anywhere_is_named(cell, capsys):
    """Whatever numpy, zipfile and zlib make of it; and every command goes on without that cell."""
    cell("focal")
    path = cell().folder / "predictions.npz"
    whole = path.read_bytes()
    for at in range(0, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            _ = read_result(path.parent).predictions
        except CheckpointError as error:
            assert "predictions.npz cannot be read" in str(error)
        assert any("predictions.npz" in problem for problem in verify(path.parent))
    np.save(path.with_suffix(".npy"), np.eye(3))
    path.with_suffix(".npy").rename(path)
    out = str(path.parents[4])
    assert main(["leaderboard", "--out", out]) == 0 and "focal" in capsys.readouterr().out
    assert main(["verify", out]) == 1 and "predictions.npz cannot be read" in capsys.readouterr().out
    assert main(["compare", "ce", "focal", "--out", out]) != 0
    assert "predictions.npz is cut short or unreadable" in capsys.readouterr().err
    assert main(["report", out, "--out", str(path.parents[4] / "site")]) == 0


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"ids": ["a"], "y_true": [0]}, "lack 'probs'"),
        ({"ids": ["a"], "y_true": [0, 1], "probs": np.eye(2)}, "differ"),
    ],
)
def test_wrong_predictions_leave_no_result(tmp_path, predictions, message):
    with pytest.raises(ContractError, match=message):
        write_result(tmp_path, {}, predictions)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "fix"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "writable"), (errno.EIO, "--out")]
)
def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch, number, fix):
    path = tmp_path / "x.json"
    atomic_write(path, "old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LtbenchError, match=f"cannot write .*x.json: .*{fix}"):
        atomic_write(path, b"new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_file_system(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        with pytest.raises(LtbenchError, match="No space left on device; free some space"):
            atomic_write(tmp_path / "big", bytes(200_000))
        assert list(tmp_path.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(LtbenchError, match="Read-only file system; make the folder writable"):
            atomic_write(tmp_path / "sub" / "file", b"x")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_an_interrupt_while_writing_leaves_nothing(tmp_path):
    def interrupted(file: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "x", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_store_skips_broken_folders_with_a_warning(tmp_path, cell):
    cell("ce")
    broken, newer, torn = cell("focal").folder, cell("sqrt").folder, cell("drw").folder / "predictions.npz"
    torn.write_bytes(torn.read_bytes()[:-30])
    (broken / "result.json").write_text("{")
    (newer / "result.json").write_text('{"schema": 99}')
    unfinished = Path(tmp_path, "digits-lt", "iois", "quick", "seed0-00000000")
    atomic_write(unfinished / "history.jsonl", '{"epoch": 0}\n{"epoch": 1}\n{"ep')
    atomic_write(unfinished / "config.json", "{}")
    with pytest.warns(UserWarning, match="skipped a result") as seen:
        frame = load_results(tmp_path)
    assert frame["method"].tolist() == ["ce"] and len(seen) == 3
    assert any("predictions.npz is cut short or unreadable" in str(warning.message) for warning in seen)
    states = {row["method"]: (row["state"], row["epochs"]) for row in status(tmp_path)}
    assert {name: state for name, (state, _) in states.items()} == {
        "ce": "finished",
        "drw": "torn",
        "focal": "broken",
        "sqrt": "broken",
        "iois": "unfinished",
    }
    assert states["ce"][1] == 3 and states["iois"][1] == 2


def test_an_incomplete_record_is_skipped(tmp_path, cell):
    cell("ce", record={"cost": None})
    with pytest.warns(UserWarning, match="incomplete"):
        assert load_results(tmp_path).empty


def test_an_empty_or_missing_root(tmp_path):
    assert load_results(tmp_path / "nowhere").empty and status(tmp_path) == []
    assert list(iter_results(tmp_path)) == []


def test_many_cells_load_quickly(tmp_path, cell):
    folder = cell().folder
    for k in range(300):
        shutil.copytree(folder, folder.parent / f"copy-{k}")
    start = time.perf_counter()
    assert len(load_results(tmp_path)) == 301
    assert time.perf_counter() - start < 5
