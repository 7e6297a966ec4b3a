"""`ltbench data`: what is where, download, import, check."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltbench.data import manage
from ltbench.data.roots import data_root
from ltbench.errors import LtbenchError, UserError
from ltbench.plugins import plugins

FIRST = 5  # images or groups of images that a line shows unasked


def _datasets(name: str | None) -> dict[str, Any]:
    """Every data set of the catalogue that can be built without options, or the one that was named."""
    registry = plugins().registry
    if name:
        plain, _, path = name.partition(":")
        return {name: registry.get("dataset", plain).build(**({"path": path} if path else {}))}
    found = {}
    for id in registry.names("dataset"):
        try:
            found[id] = registry.get("dataset", id).build()
        except LtbenchError:
            continue  # needs options, as folder:PATH does
    return found


def run_data_command(args: argparse.Namespace) -> int:
    """Print the outcome of one action; returns the exit status."""
    from tabulate import tabulate

    root = data_root(args.data_root)
    if args.action == "status":
        print(f"data root: {root}")
        lines = manage.status(_datasets(args.dataset), root)
        ways = {line["name"]: line.pop("how_to_get") for line in lines}
        print(tabulate(lines, headers="keys"))
        missing = [line["name"] for line in lines if line["state"] == "missing"]
        print("\nhow to get the rest:" if missing else "\nnothing is missing")
        for name in missing:
            print(f"  {name}: " + ways[name].replace("\n", "\n    "))
        return 0
    if not args.dataset:
        raise UserError(f"which data set? ltbench data {args.action} NAME; see ltbench list dataset")
    (dataset,) = _datasets(args.dataset).values()
    if args.action == "fetch":
        print(_fetched(args.dataset, manage.fetch(dataset, root)))
        return 0
    if args.action == "import":
        if args.source is None:
            raise UserError(f"import needs the publisher's folder or zip: ltbench data import {args.dataset} PATH")
        print(f"imported into {manage.import_data(Path(args.source), dataset, root)}")
        return 0
    report = manage.check(dataset, root)
    problems = report.pop("problems")
    for key, value in report.items():
        print(f"{key.replace('_', ' ')}: {value if args.all or key == 'classes' else _shortened(value)}")
    print(f"problems: {'; '.join(problems) or 'none'}")
    return 1 if problems else 0


def _shortened(value: Any) -> Any:
    """A long list of images by its length and beginning; anything else as it is."""
    if not isinstance(value, list) or len(value) <= FIRST or isinstance(value[0], int):
        return value
    return f"{len(value)}, the first {FIRST} (all: --all): {value[:FIRST]}"


def _fetched(name: str, facts: Mapping[str, Any]) -> str:
    if not facts["path"]:
        return f"{name} names no files below the data root: nothing is left to fetch"
    return f"fetched {name} into {facts['path']}" if facts["fetched"] else f"{name} is there already: {facts['path']}"
