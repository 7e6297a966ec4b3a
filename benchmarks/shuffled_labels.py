"""Does any method see what it must not? Every method trained on shuffled labels has to stay at chance.

Runs cells of `quick` on digits-lt (imbalance 50) with dataset.shuffle_labels=true under several split seeds, each of
which shuffles anew, and prints the mean balanced accuracy on the untouched test part; chance is 1/10. Cells resume.

    python benchmarks/shuffled_labels.py --shuffles 5 --out benchmarks/results/shuffled_labels.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tabulate import tabulate

import ltbench

CHANCE = 0.1
METHODS = [
    "ce",
    "weighted-ce",
    "focal",
    "cb-ce",
    "cb-focal",
    "balanced-softmax",
    "logit-adjustment",
    "logit-adjustment-posthoc",
    "ldam",
    "ldam-drw",
    "drw",
    "ohem",
    "eql",
    "eqlv2",
    "sqrt",
    "class-balanced",
    "progressive",
    "repeat-factor",
    "drs",
    "freemask",
    "crt",
    "lws",
    "tau-norm",
    "ncm",
    "ncl",
    "glmc",
    "gmic",
    "proco-vmf",
    "proco-proto",
    "mtl",
    "danil",
    "cl-supcon",
]


def main() -> None:
    """Run what is missing, write after each method, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/shuffled_labels"), help="where the cells go")
    parser.add_argument("--out", type=Path, default=Path("shuffled_labels.json"))
    args = parser.parse_args()
    rows = {}
    for method in args.methods:
        found = []
        for shuffle in range(args.shuffles):
            overrides = {"dataset.imbalance": 50, "dataset.shuffle_labels": True, "protocol.split_seed": shuffle}
            result = ltbench.run(method, "digits-lt", "quick", 0, overrides, out=args.runs, device="cpu")
            found.append(float(result.metrics["balanced_accuracy"]))
        spread = float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")
        rows[method] = {"values": found, "mean": float(np.mean(found)), "sd": spread}
        args.out.write_text(json.dumps(rows, indent=1))
    table = [[m, r["mean"], r["sd"], min(r["values"]), max(r["values"])] for m, r in rows.items()]
    print(tabulate(table, headers=["method", "mean", "sd", "min", "max"], floatfmt=".3f"))
    far = [method for method, row in rows.items() if abs(row["mean"] - CHANCE) > 0.05]
    print(f"farther than 0.05 from chance: {', '.join(far) or 'none'}")


if __name__ == "__main__":
    main()
