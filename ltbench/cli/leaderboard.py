"""The verb leaderboard: tables of finished cells, as methods by metric or in another view."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, NamedTuple

from ltbench.cli.arguments import FORMATS, Verb, existing, out
from ltbench.errors import UserError

COSTS = ("device_seconds", "peak_memory_bytes", "device")
PLACES = ("sort", "splits", "statistics")  # arguments that order or widen the rows of methods by metric


class View(NamedTuple):
    """What an argument shows instead; `unused`: arguments that it has no use for, and `why`; `card`: its function."""

    help: str
    unused: tuple[str, ...]
    why: str
    card: str = ""


VIEWS = {
    "suite": View(
        "row by row as a paper's table: a suite file, or the name of one in benchmarks/",
        ("metric", *PLACES, "methods", "budget"),
        "a suite has the rows, the order and the metrics of its paper",
    ),
    "costs": View(
        "device-seconds by part, peak memory, and the Pareto front",
        (*PLACES, "published"),
        "the cost card is sorted by cost and holds no paper's numbers",
        "costs:cost_card",
    ),
    "tail": View(
        "recall of every class with its interval, calibration",
        ("metric", *PLACES, "published"),
        "the tail card holds recall and calibration alone",
        "tail:tail_card",
    ),
    "gap": View(
        "validation minus test: what choosing on validation promised",
        (*PLACES, "published"),
        "the largest gap stands first, and papers print none",
        "gaps:gap_card",
    ),
    "ranks": View(
        "mean ranks over data sets, with the critical difference",
        ("dataset", *PLACES, "published"),
        "ranks are over all data sets, best first",
    ),
}


def add(verb: Verb) -> None:
    """The verb and its arguments."""
    p = verb("leaderboard", _leaderboard, "tables of finished cells")
    p.add_argument("--dataset")
    p.add_argument("--metric", help="macro_f1 unless given")
    p.add_argument("--protocol")
    p.add_argument("--format", default="table", choices=FORMATS)
    view = p.add_mutually_exclusive_group()
    for name, chosen in VIEWS.items():
        view.add_argument(f"--{name}", help=chosen.help, action="store" if name == "suite" else "store_true")
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


def _refuse_unused(args: argparse.Namespace) -> None:
    """UserError for an argument that the chosen view would leave out."""
    for name, view in VIEWS.items():
        given = [unused for unused in view.unused if getattr(args, unused) not in (None, False)]
        given += ["no-statistics"] if "statistics" in view.unused and args.statistics is False else []
        if getattr(args, name) and given:
            options = ", ".join(f"--{unused}" for unused in given)
            raise UserError(f"--{name} does not go with {options}: {view.why}; leave one out")


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
    card = next((view.card for name, view in VIEWS.items() if view.card and getattr(args, name)), "")
    also = [f"val.{metric}"] if args.gap else []
    costs = COSTS if args.costs or args.budget is not None else ()
    rows: Sequence[Mapping[str, Any]] = load_rows(folder, [*wanted, *costs, *also])
    shared = {"include_renamed": args.all, "fmt": args.format}
    if args.methods:
        rows = chosen_methods(rows, args.methods)
    if args.budget is not None:
        rows = _affordable(args, rows)
    if suite:
        text = suite_tables.suite_tables(suite, rows, args.dataset, args.protocol, published=args.published, **shared)
    elif card:
        function = resolve_name(f"ltbench.results.{card}")
        text = cards(function, rows, metric, args.dataset, args.protocol, also=also, **shared)
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


def _affordable(args: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the methods that cost more than the budget in the tables that are asked for; they are named."""
    from ltbench.results.costs import left_out, within_budget
    from ltbench.results.rows import selected

    asked = selected(rows, args.dataset, args.protocol, None, args.all)
    kept = within_budget(asked, args.budget)
    dear = left_out(asked, kept)
    if dear:
        print(f"left out by --budget {args.budget:g}: {', '.join(dear)}", file=sys.stderr)
    judged = set(map(id, asked))  # the rest is no row of a table, but may be a landmark beside one
    return [*kept, *(row for row in rows if id(row) not in judged)]
