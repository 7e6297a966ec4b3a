"""`ltbench data`: what is where, download, import, check."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ltbench.data import manage
from ltbench.data.roots import data_root
from ltbench.errors import LtbenchError, UserError
from ltbench.plugins import plugins


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
        print(tabulate(manage.status(_datasets(args.dataset), root), headers="keys"))
        return 0
    if not args.dataset:
        raise UserError(f"which data set? ltbench data {args.action} NAME; see ltbench list dataset")
    (dataset,) = _datasets(args.dataset).values()
    if args.action == "fetch":
        _lines(manage.fetch(dataset, root))
        return 0
    if args.action == "import":
        if args.source is None:
            raise UserError(f"import needs the publisher's folder or zip: ltbench data import {args.dataset} PATH")
        print(f"imported into {manage.import_data(Path(args.source), dataset, root)}")
        return 0
    report = manage.check(dataset, root)
    _lines(report)
    return 0 if report.get("ok", True) else 1


def _lines(facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        print(f"{key.replace('_', ' ')}: {value}")
