"""The tables of README.md and leaderboards/README.md, generated: `python -m ltbench.launch.readme [--check]`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from ltbench.errors import LtbenchError
from ltbench.plugins import GROUP, plugins

ROOT = Path(__file__).parents[2]
README, LEADERBOARDS = ROOT / "README.md", ROOT / "leaderboards" / "README.md"
MEASUREMENTS = ROOT / "leaderboards" / "measured"
MEASURED = re.compile(r"(<!-- measured -->\n).*?(<!-- end measured -->)", re.DOTALL)
SUITES = re.compile(r"(<!-- suites -->\n).*?(<!-- end suites -->)", re.DOTALL)
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

    return leaderboard(load_rows(MEASUREMENTS), fmt="markdown", statistics=True).strip() + "\n"


def suite_sections() -> str:
    """Markdown: every suite in benchmarks/ row by row, the paper's numbers beside the measured ones."""
    from ltbench import suites
    from ltbench.results.store import load_rows
    from ltbench.results.suite_tables import suite_tables

    rows, parts = load_rows(MEASUREMENTS), []
    for path in suites.offered(ROOT / "benchmarks"):
        suite = suites.load(str(path))
        text = suite_tables(suite, rows, published=True, include_renamed=True, fmt="markdown")
        parts.append(f"### {suite.name}\n\n{suite.source}. `ltbench sweep {suite.name}`\n\n{text.strip()}\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()


def fill(text: str) -> str:
    """The text with every block of `<!-- table KIND -->`, `<!-- measured -->` and `<!-- suites -->` replaced."""
    text = BLOCK.sub(lambda m: f"{m[1]}{table(m[2])}{m[3]}", text)
    text = MEASURED.sub(lambda m: f"{m[1]}{measured()}{m[2]}", text)
    return SUITES.sub(lambda m: f"{m[1]}{suite_sections()}{m[2]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables; with --check only compare and return 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m ltbench.launch.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if the tables are old")
    parser.add_argument("--file", type=Path, nargs="+", default=[README, LEADERBOARDS])
    args = parser.parse_args(argv)
    status = 0
    for path in args.file:
        if not path.is_file():
            raise LtbenchError(f"{path} does not exist; run this in a checkout or give --file")
        old = path.read_text()
        new = fill(old)
        if args.check:
            state = "up to date" if new == old else "old; run python -m ltbench.launch.readme"
            print(f"{path}: tables are {state}")
            status |= int(new != old)
        elif new != old:
            path.write_text(new)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
