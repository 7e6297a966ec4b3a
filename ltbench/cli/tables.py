"""Verbs that read finished cells: compare, report, verify, pack; and add-predictions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ltbench.cli.arguments import FORMATS, Verb, existing, out


def add(verb: Verb) -> None:
    """The verbs of this file and their arguments."""
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
