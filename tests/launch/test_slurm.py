"""Cells as submitit's jobs: on this machine, and by a real Slurm of one node where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ltbench.cli import main
from ltbench.launch.cells import Sweep, Wanted
from ltbench.launch.slurm import Slurm
from ltbench.results.store import load_rows

SMALL = {"protocol.epochs": 1, "protocol.max_train": 150}
SETS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
GRID = ["sweep", "--dataset", "digits-lt", "--protocol", "quick", "--device", "cpu", *SETS, "--executor", "slurm"]
PATIENCE = 900.0
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")


def wait_for(out: Path, cells: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(load_rows(out)) < cells:
        logs = "\n".join(path.read_text() for path in (out / ".slurm").glob("*_log.*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.5)


def test_two_cells_as_one_job_of_submitits_local_cluster(tmp_path, capfd):
    pytest.importorskip("submitit")
    command = [*GRID, "--methods", "ce", "--bundle", "2", "--slurm", "cluster=local", "--out", str(tmp_path / "out")]
    assert main([*command, "--seeds", "0-1"]) == 0
    out, err = capfd.readouterr()
    assert len(out.split()) == 1
    assert "2 cells in 1 job, at most 16 at once; 0 already finished" in err
    assert f"look: ltbench status --out {tmp_path / 'out'}; squeue --me; logs: {tmp_path / 'out' / '.slurm'}" in err
    wait_for(tmp_path / "out", 2)
    assert main([*command, "--seeds", "0-1"]) == 0
    assert "2 cells, all finished; nothing to submit" in capfd.readouterr().err
    assert main(["sweep", *GRID[1:-2], "--methods", "ce", "--seeds", "0-1", "--out", str(tmp_path / "out")]) == 0
    assert "2 cells: 0 computed, 2 reused" in capfd.readouterr().err


def test_bundles(tmp_path, monkeypatch):
    sweep = Sweep(tuple(Wanted("ce", "digits-lt", seed) for seed in range(7)), "quick", SMALL, tmp_path, None, "cpu")
    assert [len(part.cells) for part in Slurm(bundle=3).bundles(sweep)] == [3, 3, 1]
    assert [len(part.cells) for part in Slurm().bundles(sweep)] == [1] * 7  # nobody knows how long they take
    monkeypatch.setattr("ltbench.launch.slurm.seconds_of", lambda job, out: [700.0, 900.0])
    assert [len(part.cells) for part in Slurm().bundles(sweep)] == [2, 2, 2, 1]  # half an hour each
    monkeypatch.setattr("ltbench.launch.slurm.seconds_of", lambda job, out: [7200.0])
    assert [len(part.cells) for part in Slurm().bundles(sweep)] == [1] * 7
    monkeypatch.setattr(
        "ltbench.launch.slurm.LARGEST_ARRAY", 3
    )  # one array, or --max-jobs would hold for each of several
    assert [len(part.cells) for part in Slurm().bundles(sweep)] == [3, 3, 1]
    assert [len(part.cells) for part in Slurm(bundle=2).bundles(sweep)] == [4, 3]
    assert sorted(wanted.seed for part in Slurm(bundle=3).bundles(sweep) for wanted in part.cells) == list(range(7))


def test_without_submitit_the_error_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main([*GRID, "--methods", "ce", "--out", str(tmp_path / "out")]) == 2
    assert "--executor slurm needs submitit; install it with: pip install 'ltbench[slurm]'" in capsys.readouterr().err


def test_without_slurm_and_with_an_unknown_parameter(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    command = [*GRID, "--methods", "ce", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "submitit: Could not detect" in capsys.readouterr().err
    assert main([*command, "--slurm", "cluster=local", "--slurm", "mem_gb=much"]) == 2
    assert "submitit: " in capsys.readouterr().err


@pytest.fixture
def slurm(monkeypatch, tmp_path_factory) -> Iterator[None]:
    """A Slurm of one node on this machine, with a munge of its own."""
    if os.geteuid() or not all(map(shutil.which, DAEMONS)):
        pytest.skip("needs root and Debian's packages slurm-wlm and munge")
    home = tmp_path_factory.mktemp("slurm")
    for folder in (home, *home.parents[:2]):
        folder.chmod(0o711)
    (home / "key").write_bytes(os.urandom(128))
    (home / "key").chmod(0o600)
    places = "".join(
        f"{name}={home / place}\n"
        for name, place in (
            *(("StateSaveLocation", "state"), ("SlurmdSpoolDir", "spool")),
            *(("SlurmctldPidFile", "slurmctld.pid"), ("SlurmdPidFile", "slurmd.pid")),
            *(("SlurmctldLogFile", "slurmctld.log"), ("SlurmdLogFile", "slurmd.log")),
        )
    )
    (home / "slurm.conf").write_text(
        f"ClusterName=one\nSlurmctldHost=localhost\nSlurmctldPort={free_port()}\nSlurmdPort={free_port()}\n"
        f"AuthInfo=socket={home}/munge\n"
        f"SlurmUser=root\nSlurmdUser=root\n{places}ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n"
        "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\n"
        f"NodeName=localhost CPUs={os.cpu_count()} State=UNKNOWN\n"
        "PartitionName=all Nodes=localhost Default=YES State=UP\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(home / "slurm.conf"))
    for folder in ("state", "spool"):
        (home / folder).mkdir()
    files = [f"--{name}={home / place}" for name, place in (("key-file", "key"), ("socket", "munge"))]
    files += [f"--{name}={home / name}" for name in ("pid-file", "log-file", "seed-file")]
    try:
        subprocess.run(["munged", "--force", *files], check=True, capture_output=True)
        subprocess.run(["slurmctld"], check=True, capture_output=True)
        subprocess.run(["slurmd", "-N", "localhost"], check=True, capture_output=True)
        for _ in range(100):
            if "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout:
                break
            time.sleep(0.2)
        else:
            pytest.skip(f"slurmd does not start here: {(home / 'slurmd.log').read_text()[-300:]}")
        yield
    finally:
        for name in ("slurmd.pid", "slurmctld.pid", "pid-file"):
            if (home / name).exists():
                process = (home / name).read_text().strip()
                subprocess.run(["kill", process], check=False)
                wait_until(lambda process=process: not Path("/proc", process).exists())


@pytest.mark.slow
def test_two_bundles_on_a_real_slurm(slurm, tmp_path, capfd):
    pytest.importorskip("submitit")
    out = tmp_path / "out"
    options = ["--bundle", "2", "--max-jobs", "1", "--slurm", "partition=all", "--slurm", "time=30"]
    command = [*GRID, "--methods", "ce", "--seeds", "0-2", *options, "--slurm", "cpus_per_task=1", "--out", str(out)]
    assert main(command) == 0
    ids = capfd.readouterr().out.split()
    assert len(ids) == 2 and len({name.partition("_")[0] for name in ids}) == 1, "one array"
    task = subprocess.run(["scontrol", "show", "job", ids[0]], capture_output=True, text=True).stdout
    assert "ArrayTaskThrottle=1" in task and "TimeLimit=00:30:00" in task and "Partition=all" in task
    wait_for(out, 3)
    while subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout.strip():
        time.sleep(0.5)
    assert main(command) == 0
    assert "3 cells, all finished; nothing to submit" in capfd.readouterr().err


@pytest.mark.slow
def test_a_job_that_slurm_interrupts_is_queued_again_and_goes_on(slurm, tmp_path, capfd):
    """USR2 is what Slurm sends before a time limit and on preemption."""
    pytest.importorskip("submitit")
    out, alone = tmp_path / "out", tmp_path / "alone"
    grid = ["sweep", *GRID[1:7], "--methods", "ce", "--seeds", "0", "--set", "protocol.epochs=60"]
    options = ["--executor", "slurm", "--slurm", "partition=all", "--slurm", "time=30", "--slurm", "cpus_per_task=1"]
    assert main([*grid, *options, "--out", str(out)]) == 0
    (name,) = capfd.readouterr().out.split()
    history = wait_until(lambda: next((p for p in out.rglob("history.jsonl") if p.read_bytes().count(b"\n") > 2), None))
    subprocess.run(["scancel", name, "--signal", "USR2"], check=True)
    wait_until(lambda: "Restarts=1" in job_of(name) or (history.parent / "result.json").exists())
    assert "Restarts=1" in job_of(name) and not (history.parent / "result.json").exists()
    wait_until(lambda: (history.parent / "result.json").exists())
    log = "".join(path.read_text() for path in (out / ".slurm").glob("*_log.err"))
    assert "resuming" in log, log
    assert len(next(out.rglob("history.jsonl")).read_bytes().splitlines()) == 60
    assert main([*grid, "--out", str(alone)]) == 0
    one, two = (np.load(next(folder.rglob("predictions.npz"))) for folder in (out, alone))
    assert all(np.array_equal(one[key], two[key]) for key in one.files)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(found):
    """What `found()` gives once it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        queue = subprocess.run(["squeue"], capture_output=True, text=True).stdout
        assert time.monotonic() < deadline, queue
        time.sleep(0.25)
    return value


def job_of(name):
    return subprocess.run(["scontrol", "show", "job", name], capture_output=True, text=True).stdout
