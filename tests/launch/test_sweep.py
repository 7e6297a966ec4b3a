"""A sweep in one process: a disk that fills, cells that others hold, what is refused."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import threading
import time
from pathlib import Path

import filelock
import numpy as np
import pytest

from ltbench.cli import main
from ltbench.launch import cells
from ltbench.launch.local import plan
from ltbench.results.store import load_rows, status
from ltbench.results.walk import finished

GRID = ["sweep", "--dataset", "digits-lt", "--protocol", "quick", "--device", "cpu"]
SMALL = {"protocol.epochs": 2, "protocol.max_train": 150}
SETS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def folder_of(out: Path, seed: int, method: str = "ce") -> Path:
    return plan(method, "digits-lt", "quick", seed, SMALL).cell.folder(out)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() or libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", 0, b"size=16m"):
        pytest.skip("mounting a small tmpfs needs root")
    yield path
    libc.umount(str(path).encode())


def fill(disk: Path, cells: int) -> None:
    """Once so many cells are finished, take all the space that is left."""
    while len(finished(disk)) < cells:
        time.sleep(0.01)
    with contextlib.suppress(OSError), (disk / ".ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_disk_that_fills_stops_the_sweep_and_loses_nothing(disk, tmp_path, capsys):
    command = [*GRID, "--methods", "ce", "--seeds", "0-19", *SETS]
    other = threading.Thread(target=fill, args=(disk, 2))
    other.start()
    assert main([*command, "--out", str(disk)]) == 1
    other.join()
    err = capsys.readouterr().err
    whole = load_rows(disk)
    assert 2 <= len(whole) < 20, err
    last = err.splitlines()[-1]
    assert last.startswith(f"ltbench: ce on digits-lt, seed {len(whole)}: ") and "No space left on device" in last
    assert "free some space" in last and last.endswith("The sweep stops here; what is finished stays")
    assert "Traceback" not in err and not list(disk.rglob("*.part"))
    assert all(main(["verify", row["folder"]]) == 0 for row in whole)
    stamps = {row["folder"]: Path(row["folder"], "result.json").stat().st_mtime_ns for row in whole}
    (disk / ".ballast").unlink()
    capsys.readouterr()
    assert main([*command, "--out", str(disk)]) == 0
    assert f"20 cells: {20 - len(whole)} computed, {len(whole)} reused" in capsys.readouterr().err
    assert all(Path(folder, "result.json").stat().st_mtime_ns == stamp for folder, stamp in stamps.items())
    seed = len(whole)  # the cell that the disk interrupted
    alone = [*GRID, "--methods", "ce", "--seeds", str(seed), *SETS, "--out", str(tmp_path / "alone")]
    assert main(alone) == 0
    probs = [np.load(folder_of(out, seed) / "predictions.npz")["probs"] for out in (disk, tmp_path / "alone")]
    np.testing.assert_array_equal(*probs)


def test_a_disk_that_fills_stops_all_workers(disk, capsys):
    command = [*GRID, "--methods", "ce", "--seeds", "0-9", *SETS, "--out", str(disk)]
    other = threading.Thread(target=fill, args=(disk, 2))
    other.start()
    assert main([*command, "--workers", "2"]) == 1
    other.join()
    assert multiprocessing.active_children() == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in last and last.endswith("The sweep stops here; what is finished stays")
    whole = load_rows(disk)
    assert 2 <= len(whole) < 10 and all(main(["verify", row["folder"]]) == 0 for row in whole)
    (disk / ".ballast").unlink()
    assert main(command) == 0
    assert f"10 cells: {10 - len(whole)} computed, {len(whole)} reused" in capsys.readouterr().err


def test_a_cell_that_another_process_holds_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cells, "AGAIN", 0.2)
    folder = folder_of(tmp_path, 0)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "lock.pid").write_text("4711 on another")
    lock = filelock.FileLock(folder / "lock", thread_local=False)
    lock.acquire()
    (row,) = status(tmp_path)
    assert (row["state"], row["note"]) == ("running", "process 4711 on another")

    def let_go() -> None:
        while not list(tmp_path.glob("*/*/*/seed1-*/result.json")):
            time.sleep(0.05)
        time.sleep(1)
        lock.release()

    other = threading.Thread(target=let_go)
    other.start()
    assert main([*GRID, "--methods", "ce", "--seeds", "0-1", *SETS, "--out", str(tmp_path)]) == 0
    other.join()
    err = capsys.readouterr().err
    assert err.count("is being run by another process (process 4711 on another): waiting for it") == 1
    assert "2 cells: 2 computed, 0 reused, 0 left to other processes, 0 failed" in err
    assert [row["state"] for row in status(tmp_path)] == ["finished"] * 2


def test_a_look_at_a_cell_does_not_keep_a_process_from_it(tmp_path, capsys):
    """`status` and `pack` hold the lock for a moment; what a killed process was writing goes."""
    folder = folder_of(tmp_path, 0)
    folder.mkdir(parents=True)
    (folder / ".history.jsonl.abc.part").write_text("half a li")
    lock = filelock.FileLock(folder / "lock", thread_local=False)
    lock.acquire()
    threading.Timer(0.2, lock.release).start()
    assert main(["run", "--method", "ce", *GRID[1:], "--seed", "0", *SETS, "--out", str(tmp_path)]) == 0
    assert not list(folder.glob(".*"))


def test_what_a_process_killed_after_its_record_left_is_removed(tmp_path, capsys):
    words = ["run", "--method", "ce", *GRID[1:], "--seed", "0", *SETS, "--out", str(tmp_path)]
    assert main(words) == 0
    folder = folder_of(tmp_path, 0)
    finished = sorted(path.name for path in folder.iterdir())
    for name in ("checkpoint.pt", "best.pt", "lock.pid"):
        (folder / name).write_text("4711 on another")
    capsys.readouterr()
    assert main(words) == 0
    assert "already finished, reused" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == finished


def test_a_failed_cell_does_not_stop_the_others(tmp_path, capsys):
    folder = folder_of(tmp_path, 0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"half a file")
    assert main([*GRID, "--methods", "ce", "--seeds", "0,1,1", *SETS, "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "failed: ce on digits-lt, seed 0: " in err and "checkpoint.pt cannot be read" in err
    assert "2 cells: 1 computed, 0 reused, 0 left to other processes, 1 failed" in err
    assert "min left" in err or "[2/2]" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--bundle", "3"], "--bundle is for --executor slurm"),
        (["--max-jobs", "3"], "--max-jobs is for --executor slurm"),
        (["--slurm", "time=3"], "--slurm is for --executor slurm"),
        (["--executor", "slurm", "--workers", "2"], "--workers is for --executor local"),
        (["--executor", "slurm", "--bundle", "0"], "--bundle must be at least 1, got 0"),
        (["--executor", "slurm", "--slurm", "time"], "--slurm needs KEY=VALUE such as partition=gpu"),
    ],
)
def test_options_that_are_refused(tmp_path, words, message, capsys):
    assert main([*GRID, "--methods", "ce", *words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
