"""What the command line says about executors, and the one that it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ltbench.errors import UserError
from ltbench.launch.executors import Executor, Local


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
