"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ltbench.errors import UserError

FORMATS = ["table", "markdown", "latex", "csv", "json", "html"]


class Verb(Protocol):
    """Adds a verb to the command line and returns its parser."""

    def __call__(
        self, name: str, function: Callable[[argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser: ...


def where(parser: argparse.ArgumentParser) -> None:
    """What a recipe is resolved against."""
    parser.add_argument("--protocol", help="default: standard with a CUDA device and weights, else quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value; repeatable")
    parser.add_argument("--data-root", metavar="DIR", help="default: $LTBENCH_DATA, else the user cache folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def tuned(parser: argparse.ArgumentParser) -> None:
    """A file of tuned options."""
    parser.add_argument("--tuned", metavar="FILE", help="the options that ltbench tune chose")


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """What --set and --tuned change of a recipe."""
    from ltbench.recipe import parse_set

    return {**parse_set(args.set), **({"tuned": args.tuned} if args.tuned else {})}


def out(parser: argparse.ArgumentParser) -> None:
    """The results folder."""
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="results folder (runs)")


def folder_to_be(folder: Path) -> Path:
    """The results folder, which need not be there and must not be a file."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the results folder {folder} is a file; name a folder with --out")
    return folder


def existing(folder: Path) -> Path:
    """The results folder, which must be there."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "missing"
        raise UserError(f"the results folder {folder} is {what}; name the folder of your runs with --out")
    return folder
