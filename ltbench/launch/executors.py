"""Where the cells of a sweep run: this process, worker processes, or jobs of Slurm."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from ltbench.errors import UserError
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


@dataclass(frozen=True)
class Options:
    """What the command line says about executors."""

    workers: int = 1
    executor: str = "local"
    bundle: int | None = None
    max_jobs: int | None = None
    slurm: Sequence[str] = field(default=())


def executor(options: Options) -> Executor:
    """The executor of these options; UserError for options of another one."""
    if options.workers < 1:
        raise UserError(f"--workers must be at least 1, got {options.workers}")
    if options.executor == "slurm":
        from ltbench.launch.slurm import Slurm

        if options.workers > 1:
            raise UserError("--workers is for --executor local; with slurm, --max-jobs says how many run at once")
        return Slurm.from_options(options.bundle, options.max_jobs, options.slurm)
    given = [("--bundle", options.bundle), ("--max-jobs", options.max_jobs), ("--slurm", list(options.slurm) or None)]
    for flag, value in given:
        if value is not None:
            raise UserError(f"{flag} is for --executor slurm")
    return Local(options.workers)
