"""Verbs about synthetic images: generate, score."""

from __future__ import annotations

import argparse
from pathlib import Path

from ltbench.cli.arguments import Verb, where


def add(verb: Verb) -> None:
    """The verbs of this file and their arguments."""
    p = verb("generate", _generate, "synthetic images of a fitted generator as PNG files in class folders")
    p.add_argument("--generator", required=True, metavar="G")
    p.add_argument("--dataset", required=True, metavar="D")
    p.add_argument("--count", type=int, metavar="N", help="images of every class")
    p.add_argument("--counts", metavar="A,B,C", help="images of each class, in the order of the classes")
    p.add_argument("--total", type=int, metavar="N", help="images altogether, in the class mix of the training part")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    p.add_argument("--seed", type=int, default=0)
    where(p)
    p = verb("score", _score, "measure a folder of synthetic images against the training part of a data set")
    p.add_argument("folder", type=Path, metavar="DIR", help="class folders; or images without classes")
    p.add_argument("--against", required=True, metavar="D", help="data set")
    p.add_argument("--extractor", action="append", metavar="NAME", help="default: reference; repeatable")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--json", action="store_true")
    where(p)


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
