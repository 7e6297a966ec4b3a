"""The cells of a sweep as plain data that any process can run, and how the sweep goes on."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltbench.errors import Busy, DiskFull, LtbenchError
from ltbench.launch.local import Job, Report, compute, plan, say
from ltbench.results.files import FULL
from ltbench.results.record import RESULT
from ltbench.results.store import counted

AGAIN = 2.0  # seconds until a cell that another process holds is tried again


@dataclass(frozen=True)
class Wanted:
    """One cell of a sweep, not yet resolved."""

    method: str
    dataset: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method} on {self.dataset}, seed {self.seed}"


@dataclass(frozen=True)
class Sweep:
    """Cells under one protocol, with what every process needs to run any of them."""

    cells: tuple[Wanted, ...]
    protocol: str
    overrides: Mapping[str, Any]
    out: Path
    data_root: str | Path | None
    device: str

    def plan(self, wanted: Wanted) -> Job:
        """The cell, resolved, with its data."""
        return plan(
            wanted.method, wanted.dataset, self.protocol, wanted.seed, self.overrides, self.data_root, self.device
        )

    def run(self, wanted: Wanted, report: Report = say) -> Outcome:
        """Run one cell, whatever becomes of it."""
        try:
            job = self.plan(wanted)
            _, fresh = compute(job, out=self.out, device=self.device, report=report)
            return Outcome("computed" if fresh else "reused")
        except Busy as error:
            return Outcome("busy", str(error))
        except DiskFull as error:
            return Outcome("full", str(error))
        except LtbenchError as error:
            return Outcome("failed", str(error))
        except Exception as error:
            full = isinstance(error, OSError) and error.errno in FULL
            return Outcome("full" if full else "broken", f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Outcome:
    """What became of a cell, and why.

    state: computed, reused, busy (another process holds it), failed, broken (an error nobody expected) or full (no
    space is left).
    """

    state: str
    text: str = ""


class Ledger:
    """Which cells wait, which are to be tried again, what became of the others; tells it line by line."""

    def __init__(self, sweep: Sweep, *, wait: bool = True, report: Report = say) -> None:
        """wait: whether to try cells again until no other process holds them."""
        self.total, self.wait, self.report = len(sweep.cells), wait, report
        self.waiting, self.held = deque(sweep.cells), deque[tuple[float, Wanted]]()
        self.left = self.total
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self.told: set[Wanted] = set()
        self.begun = time.monotonic()

    def take(self) -> Wanted | None:
        """The next cell to run, None while all that are left run here or are held elsewhere."""
        if self.waiting:
            return self.waiting.popleft()
        if self.held and self.held[0][0] <= time.monotonic():
            return self.held.popleft()[1]
        return None

    def again(self, wanted: Wanted, why: str) -> None:
        """Put a cell back, to be tried at once."""
        self.report(f"{wanted}: {why}; it is tried once more")
        self.waiting.appendleft(wanted)

    def settle(self, wanted: Wanted, outcome: Outcome) -> None:
        """Count a cell; DiskFull where no other could be written either."""
        if outcome.state == "full":
            raise DiskFull(f"{wanted}: {outcome.text}. The sweep stops here; what is finished stays")
        if outcome.state == "busy" and self.wait:
            if not self.waiting and wanted not in self.told:
                self.told.add(wanted)
                self.report(f"{outcome.text.partition(';')[0]}: waiting for it; Ctrl-C leaves it to that process")
            self.held.append((time.monotonic() + AGAIN, wanted))
            return
        if outcome.state in ("failed", "broken"):
            what = "unexpected error, " if outcome.state == "broken" else ""
            self.failed.append(f"{wanted}: {what}{outcome.text}")
            self.report(f"failed: {self.failed[-1]}")
        self.left -= 1
        self.counts[outcome.state] += 1
        self.report(f"[{self.total - self.left}/{self.total}] {wanted}: {outcome.state}; {self._time()}")

    def summary(self) -> str:
        """One line about all cells."""
        count = self.counts
        return (
            f"{counted(self.total, 'cell')}: {count['computed']} computed, {count['reused']} reused, "
            f"{count['busy']} left to other processes, {len(self.failed)} failed"
        )

    def _time(self) -> str:
        spent, done = time.monotonic() - self.begun, self.counts["computed"]
        left = f", about {spent / done * self.left / 60:.0f} min left" if done and self.left else ""
        return f"{spent / 60:.1f} min{left}"


def run_here(sweep: Sweep, *, wait: bool = True) -> Ledger:
    """Run every cell in this process, in order."""
    ledger = Ledger(sweep, wait=wait)
    while ledger.left:
        wanted = ledger.take()
        if wanted is None:
            time.sleep(AGAIN / 4)
        else:
            ledger.settle(wanted, sweep.run(wanted))
    return ledger


def unfinished(sweep: Sweep) -> Sequence[tuple[Wanted, Job]]:
    """The cells without a result, resolved."""
    jobs = ((wanted, sweep.plan(wanted)) for wanted in sweep.cells)
    return [(wanted, job) for wanted, job in jobs if not (job.cell.folder(sweep.out) / RESULT).exists()]
