"""Where the cells of a sweep run: the interface, and this process or worker processes of this machine."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass

from ltbench.launch.cells import Sweep, run_here
from ltbench.launch.local import say


class Executor(ABC):
    """Runs a sweep, or hands it to what will; cells are claimed by their folders' locks, so executors mix freely."""

    @abstractmethod
    def run(self, sweep: Sweep) -> int:
        """The exit status: 0, or 1 where a cell failed."""


@dataclass(frozen=True)
class Local(Executor):
    """Cells one after another in this process, or by `workers` processes."""

    workers: int = 1

    def run(self, sweep: Sweep) -> int:
        """Run every cell and say where the table is; waits for cells that other processes hold."""
        if self.workers == 1:
            ledger = run_here(sweep)
        else:
            from ltbench.launch.workers import Workers

            sweep.out.mkdir(parents=True, exist_ok=True)
            ledger = Workers(sweep, self.workers).run()
        say(ledger.summary())
        if ledger.counts["computed"] + ledger.counts["reused"]:  # rows renamed by --set stand behind --all
            renamed = " --all" if set(sweep.overrides) - {"tuned"} else ""
            say(f"table: ltbench leaderboard --out {shlex.quote(str(sweep.out))}{renamed}")
        return 1 if ledger.failed else 0
