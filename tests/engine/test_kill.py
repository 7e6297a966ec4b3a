"""kill -9 at random moments: what is resumed equals what was never stopped; fits are taken over, never doubled.

LTBENCH_KILLS=50 kills more often than the default.
"""

from __future__ import annotations

import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ltbench

KILLS = int(os.environ.get("LTBENCH_KILLS", "4"))
SHORT = {
    "protocol.epochs": 8,
    "protocol.judge": "small_cnn",
    "generator.train_steps": 60,
    "generator.steps": 4,
    "sampler.total": 40,
}


def command(out: Path, **changes) -> list[str]:
    pairs = [f"--set={key}={value}" for key, value in {**SHORT, **changes}.items()]
    fixed = ["run", "--method", "iois", "--dataset", "digits-lt", "--protocol", "quick", "--device", "cpu"]
    return [sys.executable, "-m", "ltbench.cli", *fixed, *pairs, "--out", str(out)]


def start(out: Path, cache: Path, **changes) -> subprocess.Popen[str]:
    environment = {**os.environ, "LTBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command(out, **changes),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell passes on SIG_IGN
    )


def wait_for(process: subprocess.Popen[str], *texts: str) -> list[str]:
    """Read the log up to a line with one of the texts."""
    seen: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        seen.append(line)
        if any(text in line for text in texts):
            return seen
    raise AssertionError(f"{texts} never came: {''.join(seen)}")


def run_here(out: Path, **changes):
    return ltbench.run("iois", "digits-lt", "quick", overrides={**SHORT, **changes}, out=out, device="cpu")


def test_random_kills(tmp_path):
    """Kills fall between the first line of the log and the end of a run, by a seeded clock."""
    expected = run_here(tmp_path / "whole")
    chance, killed, finished = random.Random(0), 0, 0
    out, cache = tmp_path / "killed0", tmp_path / "cache"
    while killed < KILLS:
        process = start(out, cache)
        wait_for(process, "digits-lt, quick")
        time.sleep(chance.uniform(0, 4))
        if process.poll() is None:
            process.kill()
            killed += 1
        process.communicate()
        if process.returncode == 0:
            finished += 1
            check(expected, run_here(out))
            out = tmp_path / f"killed{finished}"  # the next cell starts anew
        assert process.returncode in (0, -signal.SIGKILL)
    resumed = subprocess.run(command(out), env={**os.environ, "LTBENCH_CACHE": str(cache)}, capture_output=True)
    assert resumed.returncode == 0, resumed.stderr.decode()
    check(expected, run_here(out))


def check(expected, got) -> None:
    assert np.array_equal(expected.predictions.probs, got.predictions.probs)
    assert np.array_equal(expected.predictions.val_probs, got.predictions.val_probs)
    assert [x["loss"] for x in expected.history] == [x["loss"] for x in got.history]
    assert not list(got.folder.glob("*.pt"))
    assert not list(got.folder.glob("*.tmp*"))


def test_a_killed_fit_is_taken_over(tmp_path):
    """Two processes need one fit: the second waits, and works on when the first is killed."""
    first = start(tmp_path / "a", tmp_path / "cache", **{"generator.train_steps": 4000})
    wait_for(first, "fit guided-ddpm/unet: 4000 steps")
    second = start(tmp_path / "b", tmp_path / "cache", **{"generator.train_steps": 4000})
    wait_for(second, "fit guided-ddpm/unet: another process works on it, waiting")
    first.kill()
    first.communicate()
    wait_for(second, "fit guided-ddpm/unet: 4000 steps", "fit guided-ddpm/unet: resuming at step")
    second.kill()
    second.communicate()


def test_one_fits_and_the_other_waits(tmp_path):
    """Both finish; the log of one shows the fit, that of the other the wait and the cache hit."""
    longer = {"generator.train_steps": 150, "protocol.epochs": 2}
    first = start(tmp_path / "a", tmp_path / "cache", **longer)
    log = wait_for(first, "fit guided-ddpm/unet: 150 steps")
    second = start(tmp_path / "b", tmp_path / "cache", **longer)
    waited = wait_for(second, "fit guided-ddpm/unet: ")[-1]
    log += [first.communicate()[1]]
    rest = second.communicate()[1]
    assert (first.returncode, second.returncode) == (0, 0), "".join(log) + rest
    assert "fit guided-ddpm/unet: done in" in "".join(log)
    assert "found in the cache" in waited or "another process works on it" in waited
    assert "fit guided-ddpm/unet: found in the cache" in waited + rest
    assert "steps" not in rest.partition("reference")[0]
    check(run_here(tmp_path / "a", **longer), run_here(tmp_path / "b", **longer))


def test_a_second_process_on_the_same_cell_is_told(tmp_path):
    first = start(tmp_path, tmp_path / "cache", **{"generator.train_steps": 4000})
    wait_for(first, "fit guided-ddpm/unet: 4000 steps")
    second = subprocess.run(
        command(tmp_path, **{"generator.train_steps": 4000}), capture_output=True, text=True, env=os.environ
    )
    first.kill()
    first.communicate()
    assert second.returncode == 1
    holder = f"process {first.pid} on {platform.node()}"
    assert f"is being run by another process ({holder}); wait for it, or use another --out" in second.stderr


@pytest.mark.parametrize("moment", ["digits-lt, quick", "fit guided-ddpm/unet: 60"])
def test_ctrl_c(tmp_path, moment):
    process = start(tmp_path / "a", tmp_path / "cache")
    wait_for(process, moment)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate()
    assert process.returncode == 130, log
    assert "interrupted; the same command resumes" in log
    assert "Traceback" not in log
