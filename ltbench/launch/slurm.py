"""Cells as jobs of Slurm through submitit: one array, short cells bundled, how many run at once capped."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltbench.errors import LtbenchError, UserError
from ltbench.launch.cells import Sweep, Wanted, run_here, unfinished
from ltbench.launch.executors import Executor
from ltbench.launch.local import Job, say, seconds_of
from ltbench.results.store import counted

SHORT = 1800.0  # seconds of work that a bundle may hold, where the time of its cells is known
MAX_JOBS = 16  # at once
LARGEST_ARRAY = 1000  # Slurm's own limit is 1001 unless the site says otherwise
FOLDER = ".slurm"  # below the results folder; cells are not looked for in it
ANYWHERE = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")


class Bundle:
    """One job: cells that run one after another; preempted or out of time, Slurm queues it again and it goes on."""

    def __call__(self, sweep: Sweep) -> dict[str, int]:
        """Run the cells, without waiting for those that other processes hold; LtbenchError names what failed."""
        ledger = run_here(sweep, wait=False)
        say(ledger.summary())
        if ledger.failed:
            raise LtbenchError("; ".join(ledger.failed))
        return dict(ledger.counts)

    def checkpoint(self, sweep: Sweep) -> Any:
        """What submitit queues after a time-out: the same cells, of which the finished ones are skipped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, sweep)


@dataclass(frozen=True)
class Slurm(Executor):
    """bundle: cells a job, by default as many as take half an hour, one where their time is unknown.

    max_jobs: jobs at once. parameters: of submitit; what its AutoExecutor does not know goes to sbatch. cluster:
    "slurm", or "local" for submitit's processes on this machine.
    """

    bundle: int | None = None
    max_jobs: int = MAX_JOBS
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = "slurm"

    @classmethod
    def from_options(cls, bundle: int | None, max_jobs: int | None, pairs: Iterable[str]) -> Slurm:
        """From the command line; UserError for numbers below 1 and for what is no KEY=VALUE."""
        for flag, number in (("--bundle", bundle), ("--max-jobs", max_jobs)):
            if number is not None and number < 1:
                raise UserError(f"{flag} must be at least 1, got {number}")
        parameters = dict(_pair(text) for text in pairs)
        cluster = str(parameters.pop("cluster", "slurm"))
        return cls(bundle, max_jobs or MAX_JOBS, parameters, cluster)

    def run(self, sweep: Sweep) -> int:
        """Submit every unfinished cell and print the jobs' ids; does not wait for them."""
        out = shlex.quote(str(sweep.out))
        sweep = replace(sweep, out=sweep.out.absolute(), data_root=sweep.data_root and Path(sweep.data_root).absolute())
        executor = self._executor(sweep)
        bundles = self.bundles(sweep)
        cells = sum(len(bundle.cells) for bundle in bundles)
        finished = len(sweep.cells) - cells
        if not bundles:
            say(f"{counted(finished, 'cell')}, all finished; nothing to submit")
            return 0
        try:
            jobs = executor.map_array(Bundle(), bundles)
        except Exception as error:
            raise LtbenchError(f"sbatch refused the jobs: {str(error).strip() or type(error).__name__}") from error
        ids = [job.job_id for job in jobs]
        say(
            f"{counted(cells, 'cell')} in {counted(len(ids), 'job')}, at most {self.max_jobs} at once; "
            f"{finished} already finished"
        )
        print(*ids, sep="\n")
        say(f"look: ltbench status --out {out}; squeue --me; logs: {sweep.out / FOLDER}")
        return 0

    def bundles(self, sweep: Sweep) -> list[Sweep]:
        """The unfinished cells, divided into jobs that one array can hold: `max_jobs` counts within an array."""
        found: list[list[Wanted]] = []
        room = 0.0
        for wanted, job in unfinished(sweep):
            needs = self._share(job, sweep)
            if not found or needs > room + 1e-9:
                found.append([])
                room = 1.0
            found[-1].append(wanted)
            room -= needs
        together = -(-len(found) // LARGEST_ARRAY)
        groups = [found[start : start + together] for start in range(0, len(found), together or 1)]
        return [replace(sweep, cells=tuple(wanted for cells in group for wanted in cells)) for group in groups]

    def _share(self, job: Job, sweep: Sweep) -> float:
        """Which part of a job the cell fills."""
        if self.bundle:
            return 1 / self.bundle
        seconds = seconds_of(job, sweep.out)
        return min(1.0, sum(seconds) / len(seconds) / SHORT) if seconds else 1.0

    def _executor(self, sweep: Sweep) -> Any:
        try:
            import submitit
        except ImportError:
            raise UserError("--executor slurm needs submitit; install it with: pip install 'ltbench[slurm]'") from None
        sweep.out.mkdir(parents=True, exist_ok=True)
        given = {key if key in ANYWHERE else f"slurm_{key}": value for key, value in self.parameters.items()}
        try:
            executor = submitit.AutoExecutor(folder=sweep.out / FOLDER, cluster=self.cluster)
            executor.update_parameters(**{"name": "ltbench", "slurm_array_parallelism": self.max_jobs, **given})
        except (AssertionError, RuntimeError, NameError, TypeError, ValueError) as error:
            raise UserError(f"submitit: {error}") from error
        return executor


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise UserError(f"--slurm needs KEY=VALUE such as partition=gpu or time=60, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
