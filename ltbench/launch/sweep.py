"""Many cells: in this process, or in worker processes that claim cells by their folder locks."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltbench.errors import Busy, LtbenchError, UserError
from ltbench.launch.local import plan, run_job, say
from ltbench.results.record import CONFIG, RESULT
from ltbench.results.store import counted


@dataclass(frozen=True)
class Wanted:
    """One cell of a sweep, not yet resolved."""

    method: str
    dataset: str
    seed: int


def sweep(
    *,
    methods: Sequence[str],
    datasets: Sequence[str],
    protocol: str | None,
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
    out: Path,
    data_root: str | Path | None,
    device: str,
    workers: int,
    dry_run: bool = False,
    controls: Collection[str] = (),
) -> int:
    """Run every cell once, seeds outermost so that each method has a row early; returns the exit status.

    A failed cell is reported and the others go on; cells that another process holds are left to it.
    dry_run: print the cells and whether each is finished, and run none. controls: the methods among them that are no
    rows of the suite's table; the print tells them apart.
    """
    if not seeds:
        raise UserError("no seeds to run; --seeds needs numbers such as 0-4 or 0,2,5")
    if workers < 1:
        raise UserError(f"--workers must be at least 1, got {workers}")
    cells = list(dict.fromkeys(Wanted(m, d, s) for d in datasets for s in seeds for m in methods))
    for m in dict.fromkeys(methods):  # a wrong name stops the sweep before its first cell
        for d in dict.fromkeys(datasets):
            from ltbench.launch.local import default_protocol
            from ltbench.recipe import resolve

            resolve(m, d, protocol or default_protocol(device, overrides.get("weights")), seeds[0], overrides)
    if dry_run:
        print(_listed(cells, controls, protocol, overrides, out, data_root, device))
        return 0
    if workers > 1:
        return _spawn(workers, out)
    done, busy, failed, begun = 0, 0, [], time.monotonic()
    for number, wanted in enumerate(cells, 1):
        try:
            job = plan(wanted.method, wanted.dataset, protocol, wanted.seed, overrides, data_root, device)
            fresh = not (job.cell.folder(out) / RESULT).exists()
            run_job(job, out=out, device=device)
            done += fresh
        except Busy as error:
            busy += 1
            say(f"left to {error.holder}: {job.cell}")
        except LtbenchError as error:
            failed.append(f"{wanted.method} on {wanted.dataset}, seed {wanted.seed}: {error}")
            say(f"failed: {failed[-1]}")
        spent = time.monotonic() - begun
        left = f", about {spent / done * (len(cells) - number) / 60:.0f} min left" if done else ""
        say(f"[{number}/{len(cells)}] {spent / 60:.1f} min{left}")
    reused = len(cells) - done - busy - len(failed)
    say(
        f"{counted(len(cells), 'cell')}: {done} computed, {reused} reused, "
        f"{busy} left to other processes, {len(failed)} failed"
    )
    if done + reused:  # rows renamed by --set stand behind --all
        say(f"table: ltbench leaderboard --out {shlex.quote(str(out))}{' --all' if overrides else ''}")
    return 1 if failed else 0


def _listed(
    cells: Sequence[Wanted],
    controls: Collection[str],
    protocol: str | None,
    overrides: Mapping[str, Any],
    out: Path,
    data_root: str | Path | None,
    device: str,
) -> str:
    from tabulate import tabulate

    rows, finished = [], 0
    for wanted in cells:
        cell = plan(wanted.method, wanted.dataset, protocol, wanted.seed, overrides, data_root, device).cell
        folder = cell.folder(out)
        finished += (folder / RESULT).exists()
        state = "finished" if (folder / RESULT).exists() else "unfinished" if (folder / CONFIG).exists() else "to run"
        kind = {"kind": "control" if wanted.method in controls else "row"} if controls else {}
        names = {"method": cell.method, "dataset": cell.dataset, "protocol": cell.protocol, "seed": wanted.seed}
        rows.append({**kind, **names, "state": state})
    return f"{tabulate(rows, headers='keys')}\n\n{counted(len(cells), 'cell')}, {finished} finished"


def _spawn(workers: int, out: Path) -> int:
    """The same command in several processes, one thread each; the folder locks share out the cells."""
    import os

    command = [sys.executable, "-m", "ltbench.cli", *sys.argv[1:], "--workers", "1"]  # the last one counts
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    Path(out).mkdir(parents=True, exist_ok=True)
    children = []
    for _ in range(workers):
        children.append(subprocess.Popen(command, env=environment))
        time.sleep(1)
    try:
        codes = [child.wait() for child in children]
        return 1 if any(codes) else 0
    except KeyboardInterrupt:
        for child in children:
            child.terminate()
        raise
