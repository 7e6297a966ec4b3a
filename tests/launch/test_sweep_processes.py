"""Sweeps in several processes: a worker killed, another sweep joining, a crash, Ctrl-C; nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ltbench.cli import main
from ltbench.results.walk import finished

GRID = ["--dataset", "digits-lt", "--protocol", "quick", "--device", "cpu"]
SMALL = ["--set", "protocol.epochs=2", "--set", "protocol.max_train=150"]
TOGETHER = ["sweep", "--methods", "ce", "focal", "--seeds", "0-11", *GRID, *SMALL]
SUMMARY = re.compile(r"(\d+) cells?: (\d+) computed, (\d+) reused, (\d+) left to other processes, (\d+) failed")
PATIENCE = 900.0  # seconds; a busy machine needs many of them

PLUGIN = """
import os, signal
import torch.nn.functional as F

def crash(logits, targets):
    os.kill(os.getpid(), signal.SIGSEGV)
    return F.cross_entropy(logits, targets)

def odd(logits, targets):
    raise ZeroDivisionError("nobody expected this")

CRASH, ODD = {"loss": "crash"}, {"loss": "odd"}

def ltbench_register(registry):
    for name in ("crash", "odd"):
        registry.add("loss", name, f"crashing:{name}", summary="A loss that fails.", cite="none")
        registry.add("method", name, f"crashing:{name.upper()}", summary="A method that fails.", cite="none")
"""


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    """A sweep in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ltbench.cli", *words],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell passes on SIG_IGN
    )


def read_to(process: subprocess.Popen[str], text: str) -> str:
    """The log up to a line with the text."""
    seen = ""
    assert process.stderr is not None
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came: {seen}")


def holders(out: Path) -> list[int]:
    """Processes that say they work on a cell."""
    found = []
    for path in out.glob("*/*/*/*/lock.pid"):
        with contextlib.suppress(FileNotFoundError):  # the cell ended meanwhile
            found.append(int(path.read_text().split()[0]))
    return found


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def predictions(out: Path) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for folder in finished(out):
        with np.load(out / folder / "predictions.npz") as stored:
            found[folder] = dict(stored)
    return found


@pytest.mark.slow
def test_a_killed_worker_and_a_second_sweep_leave_what_one_process_makes(tmp_path, capsys):
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    first = start(*TOGETHER, "--workers", "2", "--out", str(shared))
    log = read_to(first, "[4/24]")
    taken: list[int] = []
    wait_until(lambda: taken.extend(holders(shared)) or taken, "no worker took a cell")
    os.kill(taken[0], signal.SIGKILL)
    second = start(*TOGETHER, "--out", str(shared))
    log += first.communicate(timeout=PATIENCE)[1]
    other = second.communicate(timeout=PATIENCE)[1]
    assert (first.returncode, second.returncode) == (0, 0), log + other
    assert "its process died (killed by SIGKILL, as the system does when memory runs out); it is tried once more" in log
    counts = [list(map(int, SUMMARY.search(text).groups())) for text in (log, other)]
    assert [count[0] for count in counts] == [24, 24] and [count[3:] for count in counts] == [[0, 0], [0, 0]]
    computed = counts[0][1] + counts[1][1]  # one less where the killed worker had written its cell and not yet told
    assert computed in (23, 24), "every cell is computed once"
    assert main([*TOGETHER, "--out", str(alone)]) == 0
    assert "24 cells: 24 computed" in capsys.readouterr().err
    expected, found = predictions(alone), predictions(shared)
    assert list(found) == list(expected) and len(found) == 24
    for folder, columns in expected.items():
        assert (shared / folder / "history.jsonl").read_bytes().count(b"\n") == 2
        for name, values in columns.items():
            np.testing.assert_array_equal(found[folder][name], values, err_msg=f"{folder}: {name}")
    assert not [p for p in shared.rglob("*") if p.suffix in (".part", ".pid", ".pt")]


def test_a_crash_is_isolated_and_tried_twice(tmp_path):
    plugin = tmp_path / "plugin"
    info = plugin / "crashing-0.1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "crashing.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[ltbench]\ncrashing = crashing\n")
    words = [
        "sweep",
        "--methods",
        "crash",
        "odd",
        "ce",
        *GRID,
        *SMALL,
        "--workers",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    process = start(*words, PYTHONPATH=str(plugin))
    log = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1, log
    assert log.count("crash on digits-lt, seed 0: its process died (killed by SIGSEGV); it is tried once more") == 1
    assert "failed: crash on digits-lt, seed 0: its process died (killed by SIGSEGV), as it did at the first" in log
    assert "failed: odd on digits-lt, seed 0: unexpected error, ZeroDivisionError: nobody expected this" in log
    assert "ce on digits-lt, seed 0: computed" in log
    assert "3 cells: 1 computed, 0 reused, 0 left to other processes, 2 failed" in log
    assert len(finished(tmp_path / "out")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_leaves_no_process_and_goes_on(tmp_path, number):
    many = ["--set", "protocol.epochs=400", "--set", "protocol.max_train=150"]
    words = ["sweep", "--methods", "ce", "--seeds", "0-3", *GRID, *many, "--workers", "2", "--out", str(tmp_path)]
    process = start(*words)
    wait_until(lambda: list(tmp_path.glob("*/*/*/*/checkpoint.pt")), "no epoch came to its end")
    workers = holders(tmp_path)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # the terminal sends it to every process of the group
    else:
        process.send_signal(number)
    log = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, log
    assert log.endswith("ltbench: interrupted; the same command resumes\n") and "Traceback" not in log
    assert workers
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    assert not list(tmp_path.rglob("*.part")) and list(tmp_path.glob("*/*/*/*/checkpoint.pt"))
