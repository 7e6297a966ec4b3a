"""Long-lived worker processes: each takes cells from its parent, and its death costs one cell one attempt."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from ltbench.launch.cells import AGAIN, Ledger, Outcome, Sweep, Wanted
from ltbench.launch.local import say

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PATIENCE = 10.0  # seconds that a worker has to stop


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    wanted: Wanted


@dataclass
class Workers:
    """Runs a sweep in `number` processes.

    A cell whose process dies (a crash, kill -9, no memory) is tried once more in a new process, then counted as
    failed. An error that nobody expected gets a new process too, since the state of the old one is unknown.
    """

    sweep: Sweep
    number: int
    busy: list[_Worker] = field(default_factory=list)
    idle: list[_Worker] = field(default_factory=list)
    deaths: Counter[Wanted] = field(default_factory=Counter)
    started: int = 0

    def run(self) -> Ledger:
        """Run every cell; on Ctrl-C or SIGTERM no process is left behind."""
        ledger = Ledger(self.sweep)
        with _environment(), _interruptible():
            try:
                while ledger.left:
                    while len(self.busy) < self.number and (wanted := ledger.take()):
                        self._give(wanted)
                    wait([worker.pipe for worker in self.busy], timeout=AGAIN / 4)
                    if not self.busy:
                        time.sleep(AGAIN / 4)  # all that are left are held elsewhere
                    for worker in [worker for worker in self.busy if worker.pipe.poll()]:
                        self._hear(worker, ledger)
            finally:
                self._stop()
        return ledger

    def _give(self, wanted: Wanted) -> None:
        worker = self.idle.pop() if self.idle else self._start(wanted)
        worker.wanted = wanted
        self.busy.append(worker)
        with suppress(OSError):  # where it died while it was idle, the pipe says so when it is read
            worker.pipe.send(wanted)

    def _hear(self, worker: _Worker, ledger: Ledger) -> None:
        self.busy.remove(worker)
        try:
            outcome: Outcome = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker, ledger)
            return
        if outcome.state == "broken":
            worker.pipe.close()  # it ends when it reads on
        else:
            self.idle.append(worker)
        ledger.settle(worker.wanted, outcome)

    def _bury(self, worker: _Worker, ledger: Ledger) -> None:
        worker.process.join()
        self.deaths[worker.wanted] += 1
        why = f"its process died ({_cause(worker.process.exitcode)})"
        if self.deaths[worker.wanted] == 1:
            ledger.again(worker.wanted, why)
        else:
            ledger.settle(worker.wanted, Outcome("failed", f"{why}, as it did at the first attempt"))

    def _start(self, wanted: Wanted) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.started += 1
        process = context.Process(target=_work, args=(self.sweep, theirs, self.started), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the process inherits, from its first moment on:
        try:  # Ctrl-C reaches the whole group, and the parent decides
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        return _Worker(process, ours, wanted)

    def _stop(self) -> None:
        for worker in (*self.busy, *self.idle):
            worker.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for worker in (*self.busy, *self.idle):
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _work(sweep: Sweep, pipe: Connection, number: int) -> None:
    """What a worker does until its parent closes the pipe, dies, or stops it."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        while True:
            wanted = pipe.recv()
            pipe.send(sweep.run(wanted, lambda text: say(f"{number}| {text}")))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    return f"killed by {signal.Signals(-code).name}" + (
        ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    )


@contextmanager
def _environment() -> Iterator[None]:
    """One thread a worker, unless the user says otherwise."""
    added = [name for name in ONE_THREAD if name not in os.environ]
    os.environ.update({name: ONE_THREAD[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM stops a sweep as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
