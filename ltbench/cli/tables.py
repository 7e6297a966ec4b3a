"""Verbs that read finished cells: leaderboard, compare, report, verify, pack; and add-predictions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.cli.arguments import FORMATS, Verb, existing, out
from ltbench.errors import UserError

if TYPE_CHECKING:
    from ltbench.results.tables import Card

COSTS = ("device_seconds", "peak_memory_bytes", "device")
# What a view of the leaderboard does not use, and why.
UNUSED = {
    "suite": (
        ("metric", "sort", "splits", "statistics"),
        "a suite has the rows, the order and the metrics of its paper",
    ),
    "costs": (
        ("sort", "splits", "statistics", "published"),
        "the cost card is sorted by cost and holds no paper's numbers",
    ),
    "tail": (
        ("metric", "sort", "splits", "statistics", "published"),
        "the tail card holds recall and calibration alone",
    ),
    "gap": (("sort", "splits", "statistics", "published"), "the largest gap stands first, and papers print none"),
    "ranks": (("dataset", "sort", "splits", "statistics", "published"), "ranks are over all data sets, best first"),
}


def add(verb: Verb) -> None:
    """The verbs of this file and their arguments."""
    p = verb("leaderboard", _leaderboard, "tables of finished cells")
    p.add_argument("--dataset")
    p.add_argument("--metric", help="macro_f1 unless given")
    p.add_argument("--protocol")
    p.add_argument("--format", default="table", choices=FORMATS)
    view = p.add_mutually_exclusive_group()
    view.add_argument("--suite", help="row by row as a paper's table: a suite file, or the name of one in benchmarks/")
    view.add_argument("--costs", action="store_true", help="device-seconds by part, peak memory, and the Pareto front")
    view.add_argument("--tail", action="store_true", help="recall of every class with its interval, calibration")
    view.add_argument("--ranks", action="store_true", help="mean ranks over data sets, with the critical difference")
    view.add_argument("--gap", action="store_true", help="validation minus test: what choosing on validation promised")
    p.add_argument("--published", action="store_true", help="the papers' numbers and the differences")
    p.add_argument("--budget", type=float, metavar="SECONDS", help="only methods of at most this many device-seconds")
    p.add_argument("--sort", choices=["metric", "seconds", "method"], help="order of the rows: metric unless given")
    p.add_argument("--splits", action="store_true", help="splits that differ by their seed alone in one table")
    p.add_argument("--methods", nargs="+", metavar="M", help="these rows alone")
    p.add_argument(
        "--statistics",
        action=argparse.BooleanOptionalAction,
        help="intervals and ties (default: for up to 1,000 cells, whose predictions are read)",
    )
    p.add_argument("--all", action="store_true", help="also rows renamed by --set")
    out(p)
    p = verb("compare", _compare, "two methods on the same images")
    p.add_argument("a")
    p.add_argument("b")
    p.add_argument("--dataset")
    p.add_argument("--protocol")
    p.add_argument("--tuned", action="store_true", help="tuned rows, in place of untuned ones")
    p.add_argument("--imbalance", help="where they share several: the one that was set, or default")
    p.add_argument("--weights", help="where they share several: the one that was set, or default")
    p.add_argument("--images", action="store_true", help="every image on which they differ, not the first ten")
    p.add_argument("--format", default="table", choices=FORMATS)
    out(p)
    p = verb("add-predictions", _add_predictions, "a row from foreign code's predictions on the same test images")
    p.add_argument("file", type=Path, help="CSV: id and a column for each class; or npz: ids, probs")
    p.add_argument("--dataset", required=True)
    p.add_argument("--protocol", required=True)
    p.add_argument("--method", required=True, metavar="NAME", help="a new name; tables mark it (external)")
    p.add_argument("--seed", type=int, default=0, help="of the foreign training, to pair with the same seed of others")
    p.add_argument("--data-root", metavar="DIR", help="default: $LTBENCH_DATA, else the user cache folder")
    p.add_argument("--force", action="store_true", help="write the same predictions again")
    out(p)
    p = verb("report", _report, "a static site of results: tables, plots and a page per cell")
    p.add_argument("results", nargs="*", type=Path, default=[Path("runs")], metavar="RESULTS", help="default: runs")
    p.add_argument("--out", type=Path, default=Path("site"), metavar="DIR", help="a new or empty folder, or a report")
    p = verb("verify", _verify, "recompute results from their predictions and hashes")
    p.add_argument("folder", type=Path, metavar="PATH", help="a cell, a folder of cells, or an archive of ltbench pack")
    p = verb("pack", _pack, "finished cells without weights as one archive")
    p.add_argument("folder", type=Path)
    p.add_argument("--out", type=Path, required=True, metavar="FILE")
    p.add_argument("--part-size", type=float, metavar="MIB", help="cut into archives of at most this size")


def _refuse_unused(args: argparse.Namespace) -> None:
    """UserError for an argument that the chosen view would leave out."""
    for view, (names, why) in UNUSED.items():
        given = [name for name in names if getattr(args, name) not in (None, False)]
        given += ["no-statistics"] if "statistics" in names and args.statistics is False else []
        if getattr(args, view) and given:
            raise UserError(f"--{view} does not go with {', '.join(f'--{n}' for n in given)}: {why}; leave one out")


def _leaderboard(args: argparse.Namespace) -> int:
    from ltbench.results.rows import chosen_methods, selected
    from ltbench.results.store import counted, load_rows
    from ltbench.results.tables import HEADLINE, cards, columns, leaderboard

    _refuse_unused(args)
    metric, sort = args.metric or HEADLINE[0], args.sort or "metric"
    folder, wanted = existing(args.out), columns(metric)
    suite = None
    if args.suite:
        from ltbench import suites
        from ltbench.results import suite_tables

        suite = suites.load(args.suite)
        wanted = suite_tables.columns(suite)
    card, also = _card(args), [f"val.{metric}"] if args.gap else []
    rows: Sequence[Mapping[str, Any]] = load_rows(folder, [*wanted, *COSTS, *also])
    shared = {"include_renamed": args.all, "fmt": args.format}
    if args.methods:
        rows = chosen_methods(rows, args.methods)
    if args.budget is not None:
        from ltbench.results.costs import left_out, within_budget

        asked = selected(rows, args.dataset, args.protocol, None, args.all)
        kept = within_budget(asked, args.budget)
        dear = left_out(asked, kept)
        if dear:
            print(f"left out by --budget {args.budget:g}: {', '.join(dear)}", file=sys.stderr)
        judged = set(map(id, asked))  # the rest is no row of a table, but may be a landmark beside one
        rows = [*kept, *(row for row in rows if id(row) not in judged)]
    if suite:
        text = suite_tables.suite_tables(suite, rows, args.dataset, args.protocol, published=args.published, **shared)
    elif card:
        text = cards(card, rows, metric, args.dataset, args.protocol, also=also, **shared)
    elif args.ranks:
        from ltbench.results.ranks import rank_table

        text = rank_table(rows, metric, args.protocol, **shared)
    else:
        options = {"published": args.published, "statistics": args.statistics, "sort": sort, "splits": args.splits}
        text = leaderboard(rows, args.dataset, metric, protocol=args.protocol, **options, **shared)
    print(text, end="" if args.format == "csv" else "\n")
    if not args.all and args.budget is None:
        shown, every = (selected(rows, args.dataset, args.protocol, None, renamed) for renamed in (False, True))
        if suite:
            shown, every = (suite_tables.printable(suite, some, args.dataset) for some in (shown, every))
        if len(every) > len(shown) and (shown or suite):
            hidden = counted(len(every) - len(shown), "cell")
            print(f"{hidden} with overridden options not shown; --all shows them", file=sys.stderr)
    return 0


def _card(args: argparse.Namespace) -> Card | None:
    """The card that was asked for."""
    if args.costs:
        from ltbench.results.costs import cost_card

        return cost_card
    if args.tail:
        from ltbench.results.tail import tail_card

        return tail_card
    if args.gap:
        from ltbench.results.gaps import gap_card

        return gap_card
    return None


def _compare(args: argparse.Namespace) -> int:
    from ltbench.results.compare import compare

    options = {"fmt": args.format, "all_images": args.images, "tuned": args.tuned}
    options |= {"imbalance": args.imbalance, "weights": args.weights}
    print(compare(existing(args.out), args.a, args.b, dataset=args.dataset, protocol=args.protocol, **options))
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
    from ltbench.results.store import load_rows
    from ltbench.results.tables import HEADLINE, columns, row_table

    print(row_table(result, load_rows(args.out, columns(HEADLINE[0]))))
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
    left_out = [f"{states.count(s)} {s}" for s in ("running", "unfinished", "broken") if s in states]
    packed = states.count("finished") + states.count("torn")
    print(f"{counted(packed, 'cell')} packed; left out: {', '.join(left_out) or 'none'}")
    return 0
