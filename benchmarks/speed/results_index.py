"""Time and memory of `ltbench leaderboard` over many cells: with its index, building it, and after one new cell.

Run: python benchmarks/speed/results_index.py [--cells 10000] [--out FILE]; some minutes. Whole commands in processes of
their own. A busy machine stretches the seconds on the clock, so the processor's seconds are written beside them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from whole_commands import Usage, conditions, ltbench, summary

from ltbench.results.index import NAME
from ltbench.results.record import CONFIG, HISTORY, PREDICTIONS, RESULT, SPLITS

HERE = Path(__file__).resolve().parent
MEASURED = HERE.parents[1] / "leaderboards" / "measured"
LIMITS = {"warm": 0.5, "one_new": 0.5, "rebuild": 5.0}  # seconds that are asked for
MEMORY = 1e9
EMPTY = b"PK\x05\x06" + bytes(18)  # an archive without a member


def write_cells(root: Path, count: int) -> None:
    """Copies of the measured records under other seeds; the files beside them, which a leaderboard opens not, empty."""
    sources = sorted(path.parent for path in MEASURED.glob(f"*/*/*/*/{RESULT}"))
    for number in range(count):
        source, turn = sources[number % len(sources)], number // len(sources)
        record = json.loads((source / RESULT).read_text())
        record["cell"]["seed"] += 100 * turn
        record["cell"]["hash"] = f"{number:08x}{record['cell']['hash'][8:]}"
        folder = root / source.parent.relative_to(MEASURED) / f"seed{record['cell']['seed']}-{number:08x}"
        folder.mkdir(parents=True)
        for name in (HISTORY, CONFIG, SPLITS):
            (folder / name).touch()
        (folder / PREDICTIONS).write_bytes(EMPTY)
        (folder / RESULT).write_text(json.dumps(record, indent=1))


def add_cell(root: Path, number: int) -> None:
    """One more cell, a copy under another seed."""
    source = next(root.glob(f"*/*/*/*/{RESULT}")).parent
    folder = source.parent / f"seed{number}-ffffffff"
    shutil.copytree(source, folder)
    record = json.loads((folder / RESULT).read_text())
    record["cell"]["seed"] = number
    (folder / RESULT).write_text(json.dumps(record, indent=1))


def prepare(kind: str, root: Path, number: int) -> None:
    """What precedes a measured command."""
    if kind == "rebuild":
        (root / NAME).unlink(missing_ok=True)
    elif kind == "one_new":
        add_cell(root, 10**6 + number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "results_index.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "runs")
        write_cells(root, options.cells)
        leaderboard = ["leaderboard", "--out", str(root)]
        ltbench(*leaderboard)  # the interpreter's and the disk's caches are warm from here on
        runs: dict[str, list[Usage]] = {kind: [] for kind in LIMITS}
        for number in range(options.repeats):
            for kind in ("rebuild", "warm", "one_new"):
                prepare(kind, root, number)
                runs[kind].append(ltbench(*leaderboard))
        size = (root / NAME).stat().st_size
    result = {
        "cells": options.cells,
        "index_bytes": size,
        **{kind: {**summary(found), "limit_seconds": LIMITS[kind]} for kind, found in runs.items()},
        "limit_memory_bytes": MEMORY,
        **conditions(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
