"""Two processes fit a generator as one does, from the start and after a kill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ltbench.engine.fits as fits
from ltbench.engine import processes
from ltbench.errors import UserError
from ltbench.launch.generate import Counts, generate
from ltbench.testing.tiny import tiny_context, tiny_options

OPTIONS = {"train_steps": 4, "ae_steps": 3, "train_batch": 8, "ae_batch": 8, "adversarial_weight": 0.5}


def fit(rank: int, world: int, port: int, folder: str, stop: int) -> None:
    """Fit histodiffusion on this process; `stop` > 0: all break off after so many steps of the diffusion model."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    processes.join()
    fits.SAVE_EVERY = -1.0
    context = tiny_context(Path(folder), generator=tiny_options("generator", "histodiffusion", **OPTIONS))
    original, seen = context.cache.steps, []

    def counted(phase, owner, charge):
        for step in original(phase, owner, charge):
            yield step
            seen.append(phase.name)
            if stop and seen.count("histodiffusion/unet") == stop:
                raise KeyboardInterrupt

    context.cache.steps = counted
    try:
        made = context.fit_generator(context.recipe["generator"])
        if processes.rank() == 0:
            torch.save({"unet": made.unet.state_dict(), "coder": made.coder.net.state_dict()}, f"{folder}/{world}.pt")
            images, _ = made.sample(np.array([2, 2, 2]), guide=None, rng=np.random.default_rng(0))
            np.save(f"{folder}/{world}.npy", images)
    except KeyboardInterrupt:
        pass
    processes.leave()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def spawn(folder: Path, stop: int = 0) -> None:
    torch.multiprocessing.spawn(fit, (2, free_port(), str(folder), stop), nprocs=2)


def compare(one: Path, two: Path) -> None:
    a, b = torch.load(one / "1.pt", weights_only=True), torch.load(two / "2.pt", weights_only=True)
    for part in a:  # a key's bias leaves the attention as it is: its gradient is rounding alone
        near = {k: torch.allclose(a[part][k], b[part][k], atol=1e-5) for k in a[part] if "to_k.bias" not in k}
        assert all(near.values()), near
    assert np.abs(np.load(one / "1.npy").astype(int) - np.load(two / "2.npy")).max() <= 1


def test_two_processes_fit_as_one_does(tmp_path):
    fit(0, 1, 0, str(tmp_path / "one"), 0)
    spawn(tmp_path / "two")
    compare(tmp_path / "one", tmp_path / "two")
    spawn(tmp_path / "killed", stop=2)
    assert not (tmp_path / "killed" / "2.pt").exists()
    spawn(tmp_path / "killed")
    compare(tmp_path / "one", tmp_path / "killed")


def test_accelerate_launch_makes_what_one_process_makes(tmp_path):
    small = ["epochs=1", "generator.train_steps=4", "generator.guide_steps=2", "generator.steps=4"]
    words = ["generate", "--generator", "histodiffusion", "--dataset", "digits-lt", "--count", "1", "--device", "cpu"]
    command = ["-m", "ltbench.cli", *words, "--protocol", "quick"]
    command += [word for item in small for word in ("--set", item)]
    launchers = {
        "one": [sys.executable],
        "two": [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"],
    }
    launchers["two"] += ["--main_process_port", str(free_port())]
    found = {}
    for name, launcher in launchers.items():
        environment = {**os.environ, "LTBENCH_CACHE": str(tmp_path / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
        line = [*launcher, *command, "--out", str(tmp_path / name)]
        said = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert said.returncode == 0, said.stderr
        images = sorted((tmp_path / name).rglob("*.png"))
        found[name] = np.stack([np.array(Image.open(path)) for path in images]).astype(int)
    assert len(found["one"]) == 10 and np.abs(found["one"] - found["two"]).max() <= 1


def steered(rank: int, world: int, port: int, folder: str) -> None:
    """`ltbench generate` with a generator that the reference classifier steers, on this process."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["LTBENCH_CACHE"] = f"{folder}/cache"
    torch.set_num_threads(1)
    tiny = {"train_steps": 2, "steps": 2, "widths": [8, 16], "train_batch": 8}
    said = generate(
        "guided-ddpm",
        "digits-lt",
        Counts(count=1),
        Path(folder, "images"),
        protocol="quick",
        overrides={"epochs": 1, **{f"generator.{key}": value for key, value in tiny.items()}},
        device="cpu",
        report=lambda text: None,
    )
    Path(folder, f"said{rank}").write_text(said)
    assert not torch.distributed.is_initialized()  # it has left the others


def test_all_processes_help_to_fit_the_guide(tmp_path):
    torch.multiprocessing.spawn(steered, (2, free_port(), str(tmp_path)), nprocs=2)
    assert (tmp_path / "said0").read_text().startswith("asked 10 images, kept 10")
    assert (tmp_path / "said1").read_text() == "process 1 has helped to fit"
    assert len(list((tmp_path / "images").glob("*/*.png"))) == 10


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="process 2 has no device of its own, there are 2; start 2 processes"):
        processes.join()


def test_alone_nothing_waits():
    assert processes.rank() == 0 and processes.told(3) == 3
    processes.join()
    processes.wait()
    processes.leave()
