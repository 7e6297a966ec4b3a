"""Many cells: resolved names, a list of what is finished, and an executor that runs the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltbench.errors import UserError
from ltbench.launch.cells import Sweep, Wanted
from ltbench.launch.local import chosen_protocol
from ltbench.launch.options import Options, executor
from ltbench.results.record import CONFIG, RESULT
from ltbench.results.store import counted


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
    options: Options,
    dry_run: bool = False,
    controls: Collection[str] = (),
) -> int:
    """Run every cell once, seeds outermost so that each method has a row early; returns the exit status.

    A failed cell is reported and the others go on. dry_run: print the cells and whether each is finished, and run none.
    controls: the methods among them that are no rows of the suite's table; the print tells them apart.
    """
    if not seeds:
        raise UserError("no seeds to run; --seeds needs numbers such as 0-4 or 0,2,5")
    chosen = executor(options)
    protocol = chosen_protocol(protocol, overrides, device)  # here, since another machine might choose another
    methods, datasets = list(dict.fromkeys(methods)), list(dict.fromkeys(datasets))
    for method in methods:  # a wrong name stops the sweep before its first cell
        for dataset in datasets:
            from ltbench.recipe import resolve

            resolve(method, dataset, protocol, seeds[0], overrides)
    cells = tuple(
        Wanted(method, dataset, seed) for dataset in datasets for seed in dict.fromkeys(seeds) for method in methods
    )
    wanted = Sweep(cells, protocol, overrides, Path(out), data_root, device)
    if dry_run:
        print(_listed(wanted, controls))
        return 0
    return chosen.run(wanted)


def _listed(sweep: Sweep, controls: Collection[str]) -> str:
    from tabulate import tabulate

    rows, finished = [], 0
    for wanted in sweep.cells:
        cell = sweep.plan(wanted).cell
        folder = cell.folder(sweep.out)
        finished += (folder / RESULT).exists()
        state = "finished" if (folder / RESULT).exists() else "unfinished" if (folder / CONFIG).exists() else "to run"
        kind = {"kind": "control" if wanted.method in controls else "row"} if controls else {}
        names = {"method": cell.method, "dataset": cell.dataset, "protocol": cell.protocol, "seed": wanted.seed}
        rows.append({**kind, **names, "state": state})
    return f"{tabulate(rows, headers='keys')}\n\n{counted(len(sweep.cells), 'cell')}, {finished} finished"
