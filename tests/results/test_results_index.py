"""The index of many cells: never needed, never wrong, brought up to date, rebuilt when it cannot be used."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from ltbench.errors import UnknownName
from ltbench.results import index, load_results, store
from ltbench.results.index import NAME
from ltbench.results.store import load_rows
from ltbench.results.tables import columns, leaderboard
from ltbench.results.walk import cell_folders, finished


@pytest.fixture
def runs(tmp_path, cell, monkeypatch):
    """Six cells, one without AUC, and an index from the first cell on."""
    monkeypatch.setattr(index, "LEAST", 1)
    for seed in range(3):
        cell("ce", seed)
        cell("focal", seed, cell={"owns": {"loss": "paper"}})
    cell("sqrt", 0, record={"metrics": {"test": {"auc": math.nan, "macro_f1": 0.5}, "val": {}, "generation": {"x": 1}}})
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The folders whose records were read, by their methods and seeds."""
    seen = []

    def counting(folder):
        seen.append(f"{Path(folder).parts[-3]} {Path(folder).name.split('-')[0]}")
        return true(folder)

    true = store.read_result
    monkeypatch.setattr(store, "read_result", counting)
    return seen


def plain(root: Path) -> pd.DataFrame:
    """The table without any index."""
    before = index.LEAST
    index.LEAST = 10**9
    try:
        return load_results(root)
    finally:
        index.LEAST = before


def test_rows_of_the_index_are_those_of_the_records(runs, reads):
    expected = plain(runs)
    built, again = load_results(runs), load_results(runs)
    pd.testing.assert_frame_equal(built, expected)
    pd.testing.assert_frame_equal(again, expected)
    assert len(reads) == 14 and (runs / NAME).is_file()
    for first, second in zip(load_rows(runs), expected.to_dict("records"), strict=True):
        for name, value in first.items():
            assert value == second[name] or value is None or math.isnan(value), name
            assert type(value) in (str, int, float, bool, type(None))
    assert [type(row["standard"]) for row in load_rows(runs)] == [bool] * 7
    odd = load_rows(runs)[-1]
    assert odd["method"] == "sqrt" and math.isnan(odd["auc"]) and "mcc" not in odd and odd["generation.x"] == 1


def test_only_what_changed_is_read_again(runs, reads, cell):
    load_rows(runs)
    reads.clear()
    new = cell("ce", 3)
    assert len(load_rows(runs)) == 8 and reads == ["ce seed3"]
    reads.clear()
    record = json.loads((new.folder / "result.json").read_text())
    record["metrics"]["test"]["macro_f1"] = 0.123
    (new.folder / "result.json").write_text(json.dumps(record))
    assert [r["macro_f1"] for r in load_rows(runs) if r["seed"] == 3] == [0.123] and reads == ["ce seed3"]
    reads.clear()
    shutil.rmtree(new.folder)
    assert len(load_rows(runs)) == 7 and reads == []
    shutil.copytree(runs / "digits-lt" / "ce", runs / "more" / "ce")
    assert len(load_rows(runs)) == 10 and len(reads) == 3
    pd.testing.assert_frame_equal(load_results(runs), plain(runs))


def test_broken_cells_are_named_every_time(runs, cell):
    load_rows(runs)
    torn, bare, odd = (cell(name).folder for name in ("a", "b", "c"))
    (torn / "result.json").write_text("{")
    (bare / "predictions.npz").unlink()
    record = json.loads((odd / "result.json").read_text())
    (odd / "result.json").write_text(json.dumps({**record, "cell": {**record["cell"], "seed": "one"}}))
    for _ in range(3):
        with pytest.warns(UserWarning, match="skipped a result") as seen:
            assert len(load_rows(runs)) == 7
        assert len(seen) == 3
    lost = next((runs / "digits-lt" / "ce" / "quick").glob("seed0-*"))
    (lost / "predictions.npz").unlink()  # of an indexed cell, whose record stays as it is
    with pytest.warns(UserWarning) as seen:
        assert len(load_rows(runs)) == 6
    assert sum("predictions.npz is missing" in str(warning.message) for warning in seen) == 2


def test_predictions_that_were_cut_short_are_noticed_behind_the_index(runs, reads):
    before = [row["folder"] for row in load_rows(runs)]
    path = Path(before[0], "predictions.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="cut short or unreadable"):
        assert [row["folder"] for row in load_rows(runs)] == before[1:]


@pytest.mark.parametrize("damage", ["text", "cut", "empty", "zeros", "older", "other", "folder", "blob"])
def test_an_index_that_cannot_be_used_is_built_anew(runs, reads, damage):
    expected = load_results(runs)
    path = runs / NAME
    content = path.read_bytes()
    if damage == "older":
        with sqlite3.connect(path) as database:
            database.execute("UPDATE cells SET macro_f1 = 7")
            database.execute(f"PRAGMA user_version = {index.version() - 1}")
        database.close()
    elif damage == "other":
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE other (x)")
            database.execute(f"PRAGMA user_version = {index.version()}")
        database.close()
    elif damage == "blob":
        with sqlite3.connect(path) as database:
            database.execute("UPDATE cells SET macro_f1 = ?", (b"what is this",))
        database.close()
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        half = content[: len(content) // 2]
        new = {"text": b"no database", "cut": half, "empty": b"", "zeros": content[:100] + bytes(len(content) - 100)}
        path.write_bytes(new[damage])
    reads.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(load_results(runs), expected)
        assert len(reads) == 7
        reads.clear()
        pd.testing.assert_frame_equal(load_results(runs), expected)
    assert len(reads) == (7 if damage == "folder" else 0)


def test_a_store_that_cannot_be_written_has_its_index_in_the_cache(runs, reads, monkeypatch, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LTBENCH_CACHE", str(cache))
    read_only = tmp_path_factory.mktemp("disk")
    shutil.copytree(runs, read_only, dirs_exist_ok=True)
    bind = subprocess.run(["mount", "--bind", "-o", "ro", read_only, read_only], capture_output=True)
    if bind.returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", read_only], check=True)
        expected = load_results(read_only)
        assert len(list((cache / "indexes").glob("*.sqlite"))) == 1 and not (read_only / NAME).exists()
        reads.clear()
        pd.testing.assert_frame_equal(load_results(read_only), expected)
        assert reads == []
        shutil.rmtree(cache)
        (cache).write_text("no folder")  # nowhere to write
        pd.testing.assert_frame_equal(load_results(read_only), expected)
    finally:
        subprocess.run(["umount", read_only], check=True)


def test_a_full_disk_leaves_the_table(runs, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    expected = plain(runs)
    monkeypatch.setattr(os, "fsync", full)
    pd.testing.assert_frame_equal(load_results(runs), expected)
    assert [p.name for p in runs.iterdir()] == ["digits-lt"]


def test_processes_read_and_write_at_once(runs, cell):
    """Four processes load again and again while cells come and go; each sees whole rows, and none fails."""
    code = """
import sys
from ltbench.results import index
from ltbench.results.store import load_rows
index.LEAST = 1
for _ in range(60):
    rows = load_rows(sys.argv[1], ["macro_f1"])
    assert len(rows) >= 7 and all(0 <= row["macro_f1"] <= 1 for row in rows), rows
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(runs)], stderr=subprocess.PIPE) for _ in range(4)]
    seed = 10
    while any(child.poll() is None for child in children):
        cell("new", seed)
        seed += 1
        if seed % 3 == 0:
            (runs / NAME).unlink(missing_ok=True)
    errors = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [0] * 4, errors
    pd.testing.assert_frame_equal(load_results(runs), plain(runs))
    assert sorted(p.name for p in runs.iterdir()) == [NAME, "digits-lt"]


def test_values_that_sqlite_cannot_hold_are_read_from_their_cell(runs, reads, cell):
    cell("odd", record={"cost": {"total_seconds": 10**30}})
    load_rows(runs)
    reads.clear()
    assert {row["method"]: row["seconds"] for row in load_rows(runs)}["odd"] == 10**30
    assert reads == ["odd seed0"]


def test_a_leaderboard_from_few_columns_is_the_whole_one(runs):
    load_rows(runs)
    for metric in ("macro_f1", "auc", "generation.fd[ref]"):
        some = load_rows(runs, columns(metric))
        assert leaderboard(some, metric=metric) == leaderboard(load_results(runs), metric=metric)
        assert "brier" not in some[0]
    with pytest.raises(UnknownName, match="Did you mean brier"):
        leaderboard(load_rows(runs, columns("briar")), metric="briar")


def test_where_the_folder_is_named_from(runs, monkeypatch):
    load_rows(runs)
    monkeypatch.chdir(runs)
    for root in (".", Path(), "digits-lt", runs / "digits-lt" / "ce"):
        rows = load_rows(root)
        assert rows and all(Path(row["folder"], "result.json").is_file() for row in rows)
        assert [row["folder"] for row in rows] == [row["folder"] for row in load_rows(root)]
    (only,) = load_rows(rows[0]["folder"])
    assert only["folder"] == rows[0]["folder"]


def test_walking(runs, cell):
    (runs / ".hidden").mkdir()
    shutil.copytree(runs / "digits-lt", runs / ".hidden" / "digits-lt")
    (runs / "link").symlink_to(runs / "digits-lt")
    (runs / "open" / "x").mkdir(parents=True)
    (runs / "open" / "x" / "config.json").write_text("{}")
    assert [str(runs / folder) for folder in finished(runs)] == [str(p) for p in cell_folders(runs)[:-1]]
    assert len(finished(runs)) == 7 and finished(runs / "none") == {} and finished(runs / NAME) == {}


def test_few_cells_need_no_index(tmp_path, cell):
    cell()
    assert len(load_rows(tmp_path)) == 1 and [p.name for p in tmp_path.iterdir()] == ["digits-lt"]


def test_reading_a_leaderboard_imports_no_pandas(runs):
    code = (
        "import sys; from ltbench.cli import main; from ltbench.results import index; index.LEAST = 1\n"
        f"assert main(['leaderboard', '--no-statistics', '--out', {str(runs)!r}]) == 0\n"
        "assert not {'pandas', 'numpy', 'torch', 'rich'} & set(sys.modules), 'too much is imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
