"""What whole cells take from nothing: `ltbench run` with an empty cache, so that every fit is made, alone on the cores.

A cell already in the file is not run again; the file is written after each.

Run: LTBENCH_DATA=DIR python benchmarks/speed/cold_cells.py [--cells rl-cas:aptos diffmic:busi ..] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from whole_commands import conditions, ltbench

HERE = Path(__file__).resolve().parent
CELLS = [f"{method}:{dataset}" for dataset in ("busi", "breastmnist", "aptos") for method in ("rl-cas", "diffmic")]


def measure(method: str, dataset: str) -> dict[str, Any]:
    """Minutes of one cell on the clock, of the processor and by phase, and its peak memory in bytes."""
    facts = conditions()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LTBENCH_CACHE"] = f"{folder}/cache"
        usage = ltbench("run", "--method", method, "--dataset", dataset, "--out", f"{folder}/runs")
        (record,) = Path(folder, "runs").glob("*/*/*/*/result.json")
        phases = json.loads(record.read_text())["cost"]["phases"]
    return {
        "method": method,
        "dataset": dataset,
        "minutes": round(usage.wall / 60, 1),
        "processor_minutes": round(usage.processor / 60, 1),
        "phases": {name: round(phase["seconds"] / 60, 1) for name, phase in phases.items()},
        "peak_memory_bytes": usage.memory,
        **facts,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure what is not in the file yet, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="METHOD:DATASET")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "cold_cells.json")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else []
    for cell in args.cells:
        method, dataset = cell.split(":")
        if any((row["method"], row["dataset"]) == (method, dataset) for row in rows):
            continue
        rows.append(measure(method, dataset))
        print(json.dumps(rows[-1]), flush=True)
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
