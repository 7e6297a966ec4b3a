"""The command line: parse, call the API, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltbench import __version__
from ltbench.errors import LtbenchError, UserError
from ltbench.plugins import plugins
from ltbench.registry import KINDS, nearest

FORMATS = ["table", "markdown", "latex", "csv", "json", "html"]


def _run(args: argparse.Namespace) -> int:
    from ltbench.launch import local
    from ltbench.recipe import parse_set

    overrides = parse_set(args.set)
    job = local.plan(args.method, args.dataset, args.protocol, args.seed, overrides, args.data_root, args.device)
    if args.dry_run:
        print(local.describe(job, args.out))
        return 0
    local.say(f"protocol {job.cell.protocol}; {local.estimate(job, args.out)}")
    result = local.run_job(job, out=args.out, device=args.device, force=args.force, keep_model=args.keep_model)
    if args.json:
        print((result.folder / "result.json").read_text(), end="")
        return 0
    from ltbench.results.store import load_results
    from ltbench.results.tables import row_table

    print(row_table(result, load_results(args.out)))
    print(f"\nresult: {result.folder}")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from ltbench.launch import suites
    from ltbench.launch.sweep import sweep
    from ltbench.recipe import parse_set

    if args.methods and not args.suite and not args.dataset:
        raise UserError(
            "--dataset is missing: ltbench sweep --methods M ... --dataset D ...; see: ltbench list dataset"
        )
    if (args.suite is None) == (args.methods is None):
        raise UserError("a sweep needs either a suite or --methods; for example: ltbench sweep --methods ce focal ...")
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
        datasets=datasets,
        protocol=args.protocol or (suite.protocol if suite else None),
        seeds=_seeds(args.seeds or (suite.seeds if suite else "0")),
        overrides=parse_set(args.set),
        out=args.out,
        data_root=args.data_root,
        device=args.device,
        workers=args.workers,
        dry_run=args.dry_run,
    )


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise UserError(f"--seeds needs numbers such as 0-4 or 0,2,5, got {text!r}") from None
    return seeds


def _list(args: argparse.Namespace) -> int:
    loaded = plugins()
    kinds = [args.kind] if args.kind else list(KINDS)
    for kind in kinds:
        loaded.registry.names(kind)  # raises for an unknown kind
    entries = [c for c in loaded.registry.all() if c.kind in kinds]
    if args.json:
        fields = ("kind", "id", "summary", "cite", "plugin", "target")
        print(json.dumps([{f: getattr(c, f) for f in fields} for c in entries], indent=1))
        return 0
    width = max((len(c.id) for c in entries), default=1)
    for kind in kinds:
        print(f"{kind}")
        for c in entries:
            if c.kind == kind:
                print(f"  {c.id:<{width}}  {c.summary}")
    for broken in loaded.quarantined:
        print(f"left out: plugin {broken.target} ({broken.error})")
    return 0


def _show(args: argparse.Namespace) -> int:
    from ltbench.describe import describe

    print(describe(plugins().registry.get(args.kind, args.id)))
    return 0


def _check(args: argparse.Namespace) -> int:
    from ltbench.errors import UnknownName
    from ltbench.testing import check_component

    registry = plugins().registry
    kinds = [args.kind] if args.kind else [k for k in KINDS if args.id.replace("_", "-") in registry.names(k)]
    if not kinds:
        raise UnknownName(f"no component is called {args.id!r}; see: ltbench list")
    for kind in kinds:
        for line in check_component(kind, args.id):
            print(f"{kind} {args.id}: {line}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from ltbench.launch.doctor import report

    print(report(args.data_root))
    return 0


def _leaderboard(args: argparse.Namespace) -> int:
    from ltbench.results.store import load_results
    from ltbench.results.tables import leaderboard
    from ltbench.results.tail import chosen_methods, rank_table, tail_card

    frame = load_results(_existing(args.out))
    if args.methods:
        frame = chosen_methods(frame, args.methods)
    if args.tail:
        print(tail_card(frame, args.dataset, args.protocol, include_renamed=args.all, fmt=args.format))
        return 0
    if args.ranks:
        print(rank_table(frame, args.metric, args.protocol, include_renamed=args.all, fmt=args.format))
        return 0
    options = {"metric": args.metric, "fmt": args.format, "published": args.published, "protocol": args.protocol}
    print(leaderboard(frame, dataset=args.dataset, include_renamed=args.all, statistics=args.statistics, **options))
    return 0


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        what = "a file" if folder.exists() else "missing"
        raise UserError(f"the results folder {folder} is {what}; name the folder of your runs with --out")
    return folder


def _compare(args: argparse.Namespace) -> int:
    from ltbench.results.compare import compare

    options = {"fmt": args.format, "all_images": args.images}
    print(compare(_existing(args.out), args.a, args.b, dataset=args.dataset, protocol=args.protocol, **options))
    return 0


def _add_predictions(args: argparse.Namespace) -> int:
    from ltbench.launch.external import add_predictions

    result = add_predictions(
        args.file,
        dataset=args.dataset,
        protocol=args.protocol,
        method=args.method,
        seed=args.seed,
        out=args.out,
        data_root=args.data_root,
        force=args.force,
    )
    from ltbench.results.store import load_results
    from ltbench.results.tables import row_table

    print(row_table(result, load_results(args.out)))
    print(f"\nresult: {result.folder}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from ltbench.report import build_report
    from ltbench.results.store import counted

    built = build_report(args.results, args.out)
    for one in built.skipped:
        print(f"left out: {one.reason}", file=sys.stderr)
    print(f"{counted(built.cells, 'cell')} in {counted(built.boards, 'leaderboard')}; open {built.index}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from ltbench.results.store import counted
    from ltbench.results.verify import verify_all

    found = verify_all(args.folder)
    for cell, problems in found.items():
        print("; ".join(problems) if problems else f"{cell}: every number and checksum agrees")
    bad = sum(map(bool, found.values()))
    if list(found) != [str(args.folder)]:
        print(f"{counted(len(found), 'cell')}, {len(found) - bad} proven, {bad} with problems")
    return 1 if bad else 0


def _pack(args: argparse.Namespace) -> int:
    from ltbench.results.pack import kind, pack
    from ltbench.results.store import counted, status

    written = pack(args.folder, args.out, part_size=args.part_size)
    for path in written:
        print(f"{path}: {kind(path)}, {path.stat().st_size / 1e6:.2f} MB")
    states = [row["state"] for row in status(args.folder)]
    left_out = [f"{states.count(s)} {s}" for s in ("unfinished", "broken") if s in states]
    print(f"{counted(states.count('finished'), 'cell')} packed; left out: {', '.join(left_out) or 'none'}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from ltbench.results.store import status

    rows = [{k: v for k, v in row.items() if k != "folder"} for row in status(args.out)]
    print(tabulate(rows, headers="keys") if rows else f"no cells below {args.out}")
    return 0


def _cache(args: argparse.Namespace) -> int:
    from ltbench.launch.caches import clean, entries

    if args.action == "clean":
        print(f"removed {clean()} bytes")
        return 0
    from tabulate import tabulate

    rows = entries()
    print(tabulate(rows, headers="keys") if rows else "the cache is empty")
    return 0


def _generate(args: argparse.Namespace) -> int:
    from ltbench.launch.generate import Counts, generate
    from ltbench.recipe import parse_set

    print(
        generate(
            args.generator,
            args.dataset,
            Counts(args.count, args.counts, args.total),
            args.out,
            protocol=args.protocol,
            seed=args.seed,
            overrides=parse_set(args.set),
            data_root=args.data_root,
            device=args.device,
        )
    )
    return 0


def _score(args: argparse.Namespace) -> int:
    from ltbench.launch.score import score
    from ltbench.recipe import parse_set

    found = score(
        args.folder,
        args.against,
        extractors=args.extractor or ["reference"],
        protocol=args.protocol,
        seed=args.seed,
        overrides=parse_set(args.set),
        data_root=args.data_root,
        device=args.device,
    )
    print(found.json() if args.json else found.table())
    return 0


def _data(args: argparse.Namespace) -> int:
    from ltbench.launch.data_command import run_data_command

    return run_data_command(args)


def _common(parser: argparse.ArgumentParser) -> None:
    _where(parser)
    _out(parser)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", help="default: standard with a CUDA device and weights, else quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value; repeatable")
    parser.add_argument("--data-root", metavar="DIR", help="default: $LTBENCH_DATA, else the user cache folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="results folder (runs)")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="ltbench", description="Benchmark of imbalanced image classification.")
    top.add_argument("--version", action="version", version=f"ltbench {__version__}")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")

    def verb(name: str, function: Any, help: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=help, description=help)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        sub.set_defaults(function=function)
        return sub

    p = verb("run", _run, "run one cell, or print its stored result")
    p.add_argument("--method", required=True)
    p.add_argument("--dataset", required=True)
    p.add_argument("--seed", type=int, default=0)
    _common(p)
    p.add_argument("--dry-run", action="store_true", help="print every value with its origin, and stop")
    p.add_argument("--json", action="store_true", help="print the record")
    p.add_argument("--force", action="store_true", help="compute again")
    p.add_argument("--keep-model", action="store_true", help="keep the selected weights (best.pt)")
    p = verb("sweep", _sweep, "run a suite, or methods x data sets x seeds; finished cells are skipped")
    p.add_argument("suite", nargs="?", help="a suite file, or the name of one in benchmarks/")
    p.add_argument("--methods", nargs="+")
    p.add_argument("--dataset", nargs="+", help="default: those of the suite")
    p.add_argument("--seeds", metavar="0-4", help="default: those of the suite, else 0")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--dry-run", action="store_true", help="list the cells and whether each is finished, and stop")
    _common(p)
    p = verb("generate", _generate, "synthetic images of a fitted generator as PNG files in class folders")
    p.add_argument("--generator", required=True, metavar="G")
    p.add_argument("--dataset", required=True, metavar="D")
    p.add_argument("--count", type=int, metavar="N", help="images of every class")
    p.add_argument("--counts", metavar="A,B,C", help="images of each class, in the order of the classes")
    p.add_argument("--total", type=int, metavar="N", help="images altogether, in the class mix of the training part")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    p.add_argument("--seed", type=int, default=0)
    _where(p)
    p = verb("score", _score, "measure a folder of synthetic images against the training part of a data set")
    p.add_argument("folder", type=Path, metavar="DIR", help="class folders; or images without classes")
    p.add_argument("--against", required=True, metavar="D", help="data set")
    p.add_argument("--extractor", action="append", metavar="NAME", help="default: reference; repeatable")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--json", action="store_true")
    _where(p)
    p = verb("list", _list, "list components")
    p.add_argument("kind", nargs="?")
    p.add_argument("--json", action="store_true")
    p = verb("show", _show, "describe a component")
    p.add_argument("kind")
    p.add_argument("id")
    p = verb("check", _check, "run the conformance suite on a component")
    p.add_argument("id")
    p.add_argument("--kind")
    p = verb("doctor", _doctor, "describe this machine, the plugins and the data")
    p.add_argument("--data-root", metavar="DIR")
    p = verb("leaderboard", _leaderboard, "tables of finished cells")
    p.add_argument("--dataset")
    p.add_argument("--metric", default="macro_f1")
    p.add_argument("--protocol")
    p.add_argument("--format", default="table", choices=FORMATS)
    p.add_argument("--published", action="store_true", help="the papers' numbers and the differences")
    p.add_argument("--methods", nargs="+", metavar="M", help="these rows alone")
    p.add_argument("--tail", action="store_true", help="recall of every class with its interval, groups, calibration")
    p.add_argument("--ranks", action="store_true", help="mean ranks over data sets, with the critical difference")
    p.add_argument(
        "--statistics",
        action=argparse.BooleanOptionalAction,
        help="intervals and ties (default: for up to 500 cells, whose predictions are read)",
    )
    p.add_argument("--all", action="store_true", help="also rows renamed by --set")
    _out(p)
    p = verb("compare", _compare, "two methods on the same images")
    p.add_argument("a")
    p.add_argument("b")
    p.add_argument("--dataset")
    p.add_argument("--protocol")
    p.add_argument("--images", action="store_true", help="every image on which they differ, not the first ten")
    p.add_argument("--format", default="table", choices=FORMATS)
    _out(p)
    p = verb("add-predictions", _add_predictions, "a row from foreign code's predictions on the same test images")
    p.add_argument("file", type=Path, help="CSV: id and a column for each class; or npz: ids, probs")
    p.add_argument("--dataset", required=True)
    p.add_argument("--protocol", required=True)
    p.add_argument("--method", required=True, metavar="NAME", help="a new name; tables mark it (external)")
    p.add_argument("--seed", type=int, default=0, help="of the foreign training, to pair with the same seed of others")
    p.add_argument("--data-root", metavar="DIR", help="default: $LTBENCH_DATA, else the user cache folder")
    p.add_argument("--force", action="store_true", help="write the same predictions again")
    _out(p)
    p = verb("report", _report, "a static site of results: tables, plots and a page per cell")
    p.add_argument("results", nargs="*", type=Path, default=[Path("runs")], metavar="RESULTS", help="default: runs")
    p.add_argument("--out", type=Path, default=Path("site"), metavar="DIR", help="a new or empty folder, or a report")
    p = verb("verify", _verify, "recompute results from their predictions and hashes")
    p.add_argument("folder", type=Path, metavar="PATH", help="a cell, a folder of cells, or an archive of ltbench pack")
    p = verb("pack", _pack, "finished cells without weights as one archive")
    p.add_argument("folder", type=Path)
    p.add_argument("--out", type=Path, required=True, metavar="FILE")
    p.add_argument("--part-size", type=float, metavar="MIB", help="cut into archives of at most this size")
    p = verb("status", _status, "finished and unfinished cells")
    _out(p)
    p = verb("cache", _cache, "decoded tables and finished fits")
    p.add_argument("action", choices=["list", "clean"])
    p = verb("data", _data, "what is where; download, import, check")
    p.add_argument("action", choices=["status", "fetch", "import", "check"])
    p.add_argument("dataset", nargs="?")
    p.add_argument("source", nargs="?", type=Path, help="for import: the publisher's folder or zip")
    p.add_argument("--data-root", metavar="DIR")
    return top


def _warn(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 for a failure, 2 for a user's mistake, 130 for Ctrl-C."""
    top = parser()
    args = top.parse_args(argv)
    if args.verb is None:
        top.print_help(sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            if not args.debug:
                warnings.showwarning = _warn
            return int(args.function(args))
    except LtbenchError as error:
        if args.debug:
            traceback.print_exc()
        print(f"ltbench: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ltbench: interrupted; the same command resumes", file=sys.stderr)
        return 130
    except OSError as error:
        if args.debug:
            traceback.print_exc()
        print(f"ltbench: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    except Exception as error:
        if args.debug:
            raise
        if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported here
            print(
                f"ltbench: the device's memory does not suffice ({str(error)[:200]}); free it, use smaller batches or "
                "images (--set protocol.batch_size, generator.train_batch, generator.max_size), or --device cpu; the "
                "same command resumes",
                file=sys.stderr,
            )
            return 1
        print(
            f"ltbench: internal error, {type(error).__name__}: {error}\nrun again with --debug and report it",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
