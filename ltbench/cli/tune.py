"""The verb that chooses hyper-parameters: tune."""

from __future__ import annotations

import argparse
import shlex

from ltbench.cli.arguments import Verb, out, where


def add(verb: Verb) -> None:
    """The verb of this file and its arguments."""
    p = verb(
        "tune", _tune, "equally many trials of each method on validation; run and sweep take the file with --tuned"
    )
    p.add_argument("--methods", nargs="+", required=True, metavar="M")
    p.add_argument("--dataset", required=True)
    p.add_argument("--trials", type=int, required=True, metavar="N", help="of each method; the first is its defaults")
    p.add_argument("--seed", type=int, default=1000, help="of the draws and of every trial's training (1000)")
    p.add_argument("--dry-run", action="store_true", help="list the search spaces and the trials, and stop")
    where(p)
    out(p)


def _tune(args: argparse.Namespace) -> int:
    from ltbench.launch.tuning import tune
    from ltbench.recipe import parse_set

    path, table = tune(
        methods=args.methods,
        dataset=args.dataset,
        protocol=args.protocol,
        trials=args.trials,
        seed=args.seed,
        overrides=parse_set(args.set),
        out=args.out,
        data_root=args.data_root,
        device=args.device,
        dry_run=args.dry_run,
    )
    print(table)
    if path is not None:
        again = [f"--protocol {args.protocol}"] if args.protocol else []
        again += [f"--set {shlex.quote(pair)}" for pair in args.set]
        again += [f"--data-root {shlex.quote(str(args.data_root))}"] if args.data_root else []
        again += [f"--device {args.device}"] if args.device != "auto" else []
        again += [f"--out {shlex.quote(str(args.out))}"] if str(args.out) != "runs" else []
        words = ["ltbench sweep --methods", *map(shlex.quote, args.methods), "--dataset", shlex.quote(args.dataset)]
        print(f"\ntuned: {path}")
        print(f"use it: {' '.join([*words, *again, '--seeds 0-2 --tuned', shlex.quote(str(path))])}")
    return 0
