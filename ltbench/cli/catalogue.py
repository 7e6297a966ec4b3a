"""Verbs about what is there: list, show, check, doctor, data, cache."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ltbench.cli.arguments import Verb
from ltbench.plugins import plugins
from ltbench.registry import KINDS


def add(verb: Verb) -> None:
    """The verbs of this file and their arguments."""
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
    p = verb("data", _data, "what is where; download, import, check")
    p.add_argument("action", choices=["status", "fetch", "import", "check"])
    p.add_argument("dataset", nargs="?")
    p.add_argument("source", nargs="?", type=Path, help="for import: the publisher's folder or zip")
    p.add_argument("--all", action="store_true", help="for check: every image that was found, not the first of them")
    p.add_argument("--data-root", metavar="DIR")
    p = verb("cache", _cache, "decoded tables and finished fits")
    p.add_argument("action", choices=["list", "clean"])


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
        raise UnknownName(f"no component is called {args.id!r}; see: ltbench list{registry.hint}")
    for kind in kinds:
        for line in check_component(kind, args.id):
            print(f"{kind} {args.id}: {line}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from ltbench.launch.doctor import report

    print(report(args.data_root))
    return 0


def _data(args: argparse.Namespace) -> int:
    from ltbench.launch.data_command import run_data_command

    return run_data_command(args)


def _cache(args: argparse.Namespace) -> int:
    from ltbench.launch.caches import clean, entries

    if args.action == "clean":
        print(f"removed {clean()} bytes")
        return 0
    from tabulate import tabulate

    rows = entries()
    print(tabulate(rows, headers="keys") if rows else "the cache is empty")
    return 0
