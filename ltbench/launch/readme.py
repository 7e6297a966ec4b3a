"""The tables of README.md, generated from the catalogue: `python -m ltbench.launch.readme [--check]`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from ltbench.errors import LtbenchError
from ltbench.plugins import GROUP, plugins

README = Path(__file__).parents[2] / "README.md"
MEASURED = re.compile(r"(<!-- measured -->\n).*?(<!-- end measured -->)", re.DOTALL)
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(kind: str) -> str:
    """Markdown: id, summary and citation of the components of a kind that ltbench itself ships."""
    ours = {point.value for point in distribution("ltbench").entry_points if point.group == GROUP}
    registry = plugins().registry
    registry.names(kind)  # raises for an unknown kind
    entries = [c for c in registry.all() if c.kind == kind and c.plugin in ours]
    lines = ["| id | what it is | source |", "| --- | --- | --- |"]
    lines += [f"| `{c.id}` | {_cell(c.summary)} | {_cell(c.cite)} |" for c in entries]
    return "\n".join(lines) + "\n"


def measured() -> str:
    """Markdown: the leaderboards of the finished cells under leaderboards/measured."""
    from ltbench.results.store import load_rows
    from ltbench.results.tables import leaderboard

    rows = load_rows(README.parent / "leaderboards" / "measured")
    return leaderboard(rows, fmt="markdown", statistics=False).strip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()


def fill(text: str) -> str:
    """The text with every block of `<!-- table KIND -->` and the one of `<!-- measured -->` replaced."""
    text = BLOCK.sub(lambda m: f"{m[1]}{table(m[2])}{m[3]}", text)
    return MEASURED.sub(lambda m: f"{m[1]}{measured()}{m[2]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables; with --check only compare and return 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m ltbench.launch.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if the tables are old")
    parser.add_argument("--file", type=Path, default=README)
    args = parser.parse_args(argv)
    if not args.file.is_file():
        raise LtbenchError(f"{args.file} does not exist; run this in a checkout or give --file")
    old = args.file.read_text()
    new = fill(old)
    if args.check:
        print(
            f"{args.file.name}: tables are {'up to date' if new == old else 'old; run python -m ltbench.launch.readme'}"
        )
        return int(new != old)
    args.file.write_text(new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
