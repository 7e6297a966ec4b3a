"""The fit cache: a phase is done once, resumed where it stopped, shared by what agrees, and never handed out broken."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from ltbench.engine import fits
from ltbench.engine.fits import FitCache, Phase
from ltbench.errors import CheckpointError, LtbenchError
from ltbench.testing.tiny import tiny_context


class Walk:
    """A training whose every step depends on all before it and on torch's global generator."""

    def __init__(self):
        self.value, self.seen = torch.zeros(2, dtype=torch.float64), []

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


class Stop(BaseException):
    """An interruption."""


def phase(total=6, **key) -> Phase:
    return Phase("walk/steps", total, {"options": {"a": 1}, **key}, 0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "SAVE_EVERY", -1.0)
    log: list[str] = []
    made = FitCache(tmp_path, torch.device("cpu"), log.append)
    made.log = log
    return made


def walk(cache, one=None, stop=None):
    owner, charged = Walk(), []
    for step in cache.steps(one or phase(), owner, lambda seconds, cached: charged.append(cached)):
        owner.seen.append(step)
        if step == stop:
            raise Stop
        owner.value = owner.value * 1.5 + torch.rand(2, dtype=torch.float64)
    return owner, charged


def test_a_finished_phase_is_loaded_and_yields_nothing(cache):
    first, charged = walk(cache)
    assert (first.seen, charged) == ([0, 1, 2, 3, 4, 5], [False])
    second, charged = walk(cache)
    assert (second.seen, charged) == ([], [True])
    assert torch.equal(first.value, second.value)
    assert "found in the cache" in cache.log[-1]


@pytest.mark.parametrize("stop", [0, 3, 5])
def test_a_stopped_phase_goes_on_and_ends_the_same(cache, tmp_path, stop):
    whole, _ = walk(FitCache(tmp_path / "other", torch.device("cpu"), lambda text: None))
    with pytest.raises(Stop):
        walk(cache, stop=stop)
    rest, charged = walk(cache)
    assert rest.seen == list(range(stop, 6))
    assert charged == [False]
    assert torch.equal(rest.value, whole.value)


def test_the_key_decides_what_is_shared(cache):
    hashes = {phase().hash, phase(7).hash, phase(train="x").hash, Phase("walk/other", 6, {"options": {"a": 1}}, 0).hash}
    assert len({*hashes, Phase("walk/steps", 6, {"options": {"a": 1}}, 1).hash}) == 5
    assert phase().hash == phase().hash


def test_two_at_once_one_works_the_other_waits(cache):
    inside, go = threading.Event(), threading.Event()
    first = Walk()

    def work():
        for _ in cache.steps(phase(), first, lambda seconds, cached: None):
            inside.set()
            go.wait(10)
            first.value = first.value + 1

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait(10)
    result = []
    waiter = threading.Thread(target=lambda: result.append(walk(cache)))
    waiter.start()
    while not any("another process works on it, waiting" in line for line in cache.log):
        waiter.join(0.05)
    go.set()
    worker.join(20)
    waiter.join(20)
    (second, charged) = result[0]
    assert (second.seen, charged) == ([], [True])
    assert torch.equal(second.value, first.value)


def test_a_phase_is_not_charged_for_a_fit_inside_it(tmp_path):
    """Neither for working on it, nor for waiting for another process, nor for loading it."""
    context, lock, seconds = tiny_context(tmp_path), threading.Event(), {}

    def elsewhere():
        for _ in tiny_context(tmp_path).steps("waited for", 1, Walk()):
            lock.set()
            time.sleep(0.5)

    other = threading.Thread(target=elsewhere)
    other.start()
    lock.wait()
    for name, fit in {"waits": "waited for", "works": "own", "loads": "own"}.items():
        with context.cost.of(name, context.policy):
            for _ in context.steps(fit, 1, Walk()):
                with context.cost.of("nested", context.policy):
                    time.sleep(0.2)
            time.sleep(0.05)
        seconds[name] = context.cost.phases[name]["seconds"]
    other.join()
    assert context.cost.phases["fit cell/waited for"]["seconds"] >= 0.5
    assert 0.2 <= context.cost.phases["nested"]["seconds"] < 0.3  # only the second of the three works
    assert all(0.05 <= value < 0.15 for value in seconds.values()), seconds


def test_a_corrupt_entry_names_the_file(cache, tmp_path):
    walk(cache)
    path = tmp_path / "fits" / phase().hash / "state.pt"
    path.write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        walk(cache)
    path.unlink()
    assert walk(cache)[0].seen == [0, 1, 2, 3, 4, 5]


def test_a_corrupt_progress_names_the_file(cache, tmp_path):
    with pytest.raises(Stop):
        walk(cache, stop=3)
    (tmp_path / "fits" / phase().hash / "progress.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"progress\.pt cannot be read .*remove the file"):
        walk(cache)


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LtbenchError, match="set LTBENCH_CACHE to a writable folder"):
        walk(FitCache(tmp_path / "file", torch.device("cpu"), lambda text: None))


def test_fits_are_shared_between_methods_and_seeds(cell, capfd):
    from plugins_under_test import SHORT_DIFFUSION

    first = cell("iois", {**SHORT_DIFFUSION, "generator.lr": 2e-3})
    log = capfd.readouterr().err
    assert log.count("fit guided-ddpm/unet: 20 steps") == 1
    second = cell("iois-ois", {**SHORT_DIFFUSION, "generator.lr": 2e-3, "generator.scale": 2.0}, seed=1)
    log = capfd.readouterr().err
    assert "fit guided-ddpm/unet: 20 steps" not in log
    assert "fit guided-ddpm/unet: found in the cache" in log
    phases = [r.data["cost"]["phases"]["fit guided-ddpm/unet"] for r in (first, second)]
    assert [p["cached"] for p in phases] == [False, True]
    assert phases[0]["seconds"] == pytest.approx(phases[1]["seconds"])
