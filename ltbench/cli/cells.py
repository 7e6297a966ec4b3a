"""Verbs that compute cells: run, sweep, status."""

from __future__ import annotations

import argparse
import sys

from ltbench.cli.arguments import Verb, existing, folder_to_be, out, overrides, tuned, where
from ltbench.errors import UserError
from ltbench.plugins import plugins
from ltbench.registry import nearest

MOST_SEEDS = 10_000  # a mistyped range should not fill the memory


def add(verb: Verb) -> None:
    """The verbs of this file and their arguments."""
    p = verb("run", _run, "run one cell, or print its stored result")
    p.add_argument("--method", required=True)
    p.add_argument("--dataset", required=True)
    p.add_argument("--seed", type=int, default=0)
    where(p)
    tuned(p)
    out(p)
    p.add_argument("--dry-run", action="store_true", help="print every value with its origin, and stop")
    p.add_argument("--json", action="store_true", help="print the record")
    p.add_argument("--force", action="store_true", help="compute again")
    p.add_argument("--keep-model", action="store_true", help="keep the selected weights (best.pt)")
    p = verb("sweep", _sweep, "run a suite, or methods x data sets x seeds; finished cells are skipped")
    p.add_argument("suite", nargs="?", help="a suite file, or the name of one in benchmarks/")
    p.add_argument("--methods", nargs="+")
    p.add_argument("--dataset", nargs="+", help="default: those of the suite")
    p.add_argument("--seeds", metavar="0-4", help="default: those of the suite, else 0")
    p.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (1)")
    p.add_argument("--executor", default="local", choices=["local", "slurm"], help="where cells run")
    p.add_argument("--bundle", type=int, metavar="N", help="slurm: cells a job (default: half an hour of known cells)")
    p.add_argument("--max-jobs", type=int, metavar="N", help="slurm: jobs at once (16)")
    p.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE", help="slurm: partition=gpu, time=60; repeatable"
    )
    p.add_argument("--dry-run", action="store_true", help="list the cells and whether each is finished, and stop")
    where(p)
    tuned(p)
    out(p)
    p = verb("status", _status, "finished and unfinished cells")
    out(p)


def _run(args: argparse.Namespace) -> int:
    from ltbench.launch import local

    changes = overrides(args)
    folder_to_be(args.out)
    job = local.plan(args.method, args.dataset, args.protocol, args.seed, changes, args.data_root, args.device)
    if args.dry_run:
        print(local.describe(job, args.out))
        return 0
    local.say(f"protocol {job.cell.protocol}; {local.estimate(job, args.out)}")
    result = local.run_job(job, out=args.out, device=args.device, force=args.force, keep_model=args.keep_model)
    if args.json:
        print((result.folder / "result.json").read_text(), end="")
        return 0
    from ltbench.results.store import load_rows
    from ltbench.results.tables import HEADLINE, columns, row_table

    print(row_table(result, load_rows(args.out, columns(HEADLINE[0]))))
    print(f"\nresult: {result.folder}")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from ltbench import suites
    from ltbench.launch.options import Options
    from ltbench.launch.sweep import sweep

    if args.methods and not args.suite and not args.dataset:
        raise UserError(
            "--dataset is missing: ltbench sweep --methods M ... --dataset D ...; see: ltbench list dataset"
        )
    if (args.suite is None) == (args.methods is None):
        got = f", got both: {args.suite} and --methods {' '.join(args.methods)}" if args.suite else ""
        raise UserError(
            f"a sweep takes either a suite or --methods{got}; for example: ltbench sweep --methods ce focal ..."
        )
    suite = suites.load(args.suite) if args.suite else None
    known = plugins().registry.names("method")
    methods, absent = suite.split(known) if suite else (args.methods, [])
    for name, method in absent:
        print(f"left out: {name} (no plugin offers method {method}){nearest(method, known)}", file=sys.stderr)
    if suite and not methods:
        raise UserError(f"suite {suite.name}: every row names an unknown method; see: ltbench list method")
    datasets = args.dataset or (list(suite.datasets) if suite else [])
    if not datasets:
        raise UserError(f"suite {args.suite} names no data set; add some with --dataset D ...")
    return sweep(
        methods=methods,
        controls=suite.only_controls if suite else (),
        datasets=datasets,
        protocol=args.protocol or (suite.protocol if suite else None),
        seeds=_seeds(args.seeds or (suite.seeds if suite else "0")),
        overrides=overrides(args),
        out=folder_to_be(args.out),
        data_root=args.data_root,
        device=args.device,
        options=Options(args.workers, args.executor, args.bundle, args.max_jobs, args.slurm),
        dry_run=args.dry_run,
    )


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            low, high = int(first), int(last if dash else first)
            if low > high:
                raise UserError(f"--seeds has the empty range {part.strip()}; write {high}-{low}")
            if high - low >= MOST_SEEDS:
                raise UserError(f"--seeds {part.strip()} are {high - low + 1:,} seeds, the most is {MOST_SEEDS:,}")
            seeds += range(low, high + 1)
    except ValueError:
        raise UserError(f"--seeds needs numbers such as 0-4 or 0,2,5, got {text!r}") from None
    return seeds


def _status(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from ltbench.results.store import status

    rows = [{k: v for k, v in row.items() if k != "folder"} for row in status(existing(args.out))]
    print(tabulate(rows, headers="keys") if rows else f"no cells below {args.out}")
    return 0
