"""Time and memory of `ltbench report` over the measured cells; the limit is ten seconds for 500.

Run: python benchmarks/speed/report_build.py [--repeats 5] [--out FILE]; a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from whole_commands import conditions, ltbench, summary

from ltbench.results.walk import finished

HERE = Path(__file__).resolve().parent
MEASURED = HERE.parents[1] / "leaderboards" / "measured"
LIMIT = 10.0  # seconds that are asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "report_build.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        line = ["report", str(MEASURED), "--out", f"{scratch}/site"]
        ltbench(*line)  # the interpreter's and the disk's caches are warm from here on
        runs = [ltbench(*line) for _ in range(options.repeats)]
    result = {"cells": len(finished(MEASURED)), **summary(runs), "limit_seconds": LIMIT, **conditions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
