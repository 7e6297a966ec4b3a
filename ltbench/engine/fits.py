"""The fit cache: a training loop that is resumed where it stopped and shared by every cell that needs the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch

from ltbench.cell import digest
from ltbench.engine import checkpoint, processes
from ltbench.engine.streams import seed_global
from ltbench.errors import LtbenchError
from ltbench.interfaces import Stateful
from ltbench.results.files import atomic_write

SAVE_EVERY = 20.0  # seconds between checkpoints of a running fit


@dataclass(frozen=True)
class Phase:
    """One cached training loop: `key` says on what its result depends, plain values only."""

    name: str
    total: int
    key: dict[str, Any]
    seed: int

    @property
    def hash(self) -> str:
        """Identity in the cache."""
        return digest({"name": self.name, "total": self.total, "seed": self.seed, **self.key})


class FitCache:
    """Folders fits/HASH with state.pt, progress.pt and info.json below the cache root."""

    def __init__(self, root: Path, device: torch.device, report: Callable[[str], None]) -> None:
        self.root, self.device, self.report = root / "fits", device, report

    def seconds(self, phase: Phase) -> float:
        """What the finished fit cost, in seconds of all its runs together."""
        return float(json.loads((self.root / phase.hash / "info.json").read_text())["seconds"])

    def steps(self, phase: Phase, owner: Stateful, charge: Callable[[float, bool], None]) -> Iterator[int]:
        """Yield the steps still to do, leaving `owner` at the end of the loop; `charge(seconds, cached)` at the end."""
        folder = self.root / phase.hash
        if processes.rank():
            yield from self._follow(phase, owner, folder)
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LtbenchError(
                f"the fit cache {self.root} cannot be written ({error.strerror}); "
                "set LTBENCH_CACHE to a writable folder"
            ) from error
        done = folder / "state.pt"
        if not done.exists():
            lock = filelock.FileLock(folder / "lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                self.report(f"fit {phase.name}: another process works on it, waiting")
                lock.acquire()
            try:
                if not done.exists():
                    yield from self._work(phase, owner, folder)
                    charge(self.seconds(phase), False)
                    return
            finally:
                lock.release()
        processes.told(None)
        self.report(f"fit {phase.name}: found in the cache ({phase.hash[:8]}, {self.seconds(phase):.0f} s)")
        owner.load_state_dict(checkpoint.load(done, phase.hash, self.device))
        charge(self.seconds(phase), True)

    def _work(self, phase: Phase, owner: Stateful, folder: Path) -> Iterator[int]:
        progress = folder / "progress.pt"
        first, spent = 0, 0.0
        if progress.exists():
            saved = checkpoint.load(progress, phase.hash, self.device)
            first, spent = saved["step"], saved["seconds"]
            owner.load_state_dict(saved["owner"])
            self.report(f"fit {phase.name}: resuming at step {first} of {phase.total}")
        else:
            self.report(f"fit {phase.name}: {phase.total} steps")
        processes.told(first)
        processes.wait()  # for the others to load it too
        begun = saved_at = told_at = time.monotonic()
        for step in range(first, phase.total):
            seed_global(phase.seed, phase.name, step)
            yield step
            now = time.monotonic()
            if now - saved_at > SAVE_EVERY:
                state = {"step": step + 1, "seconds": spent + now - begun, "owner": owner.state_dict()}
                checkpoint.save(progress, phase.hash, state)
                saved_at = time.monotonic()
            if now - told_at > 10:
                left = (now - begun) / (step + 1 - first) * (phase.total - step - 1)
                self.report(f"fit {phase.name}: step {step + 1} of {phase.total}, {left:.0f} s left")
                told_at = now
        spent += time.monotonic() - begun
        info = {"phase": phase.name, "steps": phase.total, "seconds": spent, "seed": phase.seed, "key": phase.key}
        atomic_write(folder / "info.json", json.dumps(info, indent=1, default=str).encode())
        checkpoint.save(folder / "state.pt", phase.hash, owner.state_dict())
        progress.unlink(missing_ok=True)
        self.report(f"fit {phase.name}: done in {spent:.0f} s")

    def _follow(self, phase: Phase, owner: Stateful, folder: Path) -> Iterator[int]:
        """The same steps in a process that does not write; it starts where process 0 does."""
        first = processes.told(None)
        if first is None:
            owner.load_state_dict(checkpoint.load(folder / "state.pt", phase.hash, self.device))
            return
        if first:
            saved = checkpoint.load(folder / "progress.pt", phase.hash, self.device)
            owner.load_state_dict(saved["owner"])
        processes.wait()
        for step in range(first, phase.total):
            seed_global(phase.seed, phase.name, step)
            yield step
