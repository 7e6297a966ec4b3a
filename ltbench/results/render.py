"""Text forms of tables: terminal, markdown, LaTeX, HTML, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ltbench.errors import UnknownName
from ltbench.results.files import to_json

FORMATS = ("table", "markdown", "latex", "csv", "json", "html")


@dataclass(frozen=True)
class Table:
    """A titled table: `header` and `rows` are printed, `records` are the same as plain numbers, `notes` go below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Sequence[dict[str, Any]] = field(default_factory=list)
    notes: Sequence[str] = ()


def render(tables: Sequence[Table], fmt: str) -> str:
    """All tables as one text; csv and json hold the records (fractions), the other formats what is printed."""
    if fmt not in FORMATS:
        raise UnknownName(f"unknown format {fmt!r}; formats: {', '.join(FORMATS)}")
    if fmt == "json":
        return to_json([{"title": t.title, "rows": t.records, "notes": list(t.notes)} for t in tables])
    if fmt == "csv":
        return _csv([record for table in tables for record in table.records])
    if not tables:
        return "no results yet; make some with: ltbench run --method ce --dataset digits-lt\n"
    one = {"table": _terminal, "markdown": _markdown, "latex": _latex, "html": _html}[fmt]
    return "\n".join(one(table) for table in tables)


def _terminal(table: Table) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=box.SIMPLE_HEAD)
    for index, name in enumerate(table.header):
        grid.add_column(Text(name), justify="right" if index else "left", no_wrap=True)
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    out = io.StringIO()
    Console(file=out, width=300, color_system=None).print(grid)
    lines = [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
    return "\n".join([table.title, "", *lines, *(f"  {note}" for note in table.notes)]) + "\n"


def _tabulate(table: Table, form: str) -> str:
    from tabulate import tabulate

    aligned = ["left", *["right"] * (len(table.header) - 1)]
    return tabulate(
        table.rows, table.header, tablefmt=form, disable_numparse=True, colalign=aligned if table.rows else None
    )


def _markdown(table: Table) -> str:
    notes = "".join(f"- {note}\n" for note in table.notes)
    return f"**{table.title}**\n\n{_tabulate(table, 'github')}\n\n{notes}"


def _latex(table: Table) -> str:
    notes = "".join(f"% {note}\n" for note in table.notes)
    return f"% {table.title}\n{_tabulate(table, 'latex_booktabs')}\n{notes}"


def _html(table: Table) -> str:
    from html import escape

    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return f"<h3>{escape(table.title)}</h3>\n{_tabulate(table, 'html')}\n<ul>{notes}</ul>\n"


def _csv(records: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(out, names, lineterminator="\n", restval="")
    if names:
        writer.writeheader()
    writer.writerows(records)
    return out.getvalue()
