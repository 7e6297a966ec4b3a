"""Text forms of tables: terminal, markdown, LaTeX, HTML, CSV and JSON."""

from __future__ import annotations

import csv
import io
import unicodedata
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
    return "\n".join(one(_on_one_line(table)) for table in tables)


def _on_one_line(table: Table) -> Table:
    """The table with single blanks for all white space: a line break would end a comment or a row."""

    def flat(text: str) -> str:
        return " ".join(text.split())

    rows = [list(map(flat, row)) for row in table.rows]
    return Table(flat(table.title), list(map(flat, table.header)), rows, table.records, list(map(flat, table.notes)))


def _terminal(table: Table) -> str:
    widths = [max(map(_width, column)) for column in zip(table.header, *table.rows, strict=True)]
    rule = " " + "─" * (sum(widths) + 3 * len(widths) - 1)
    lines = [_line(table.header, widths), rule, *(_line(row, widths) for row in table.rows)]
    return "\n".join([table.title, "", *lines, *(f"  {note}" for note in table.notes)]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell to the left, the others to the right."""
    blanks = [" " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    rest = (f"{blank}{cell}" for cell, blank in zip(cells[1:], blanks[1:], strict=True))
    return "   ".join([f"  {cells[0]}{blanks[0]}", *rest]).rstrip()


def _width(text: str) -> int:
    """Columns of a terminal."""
    return len(text) if text.isascii() else sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _tabulate(header: Sequence[str], rows: Sequence[Sequence[str]], form: str) -> str:
    from tabulate import tabulate

    aligned = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, header, tablefmt=form, disable_numparse=True, colalign=aligned if rows else None)


def _markdown(table: Table) -> str:
    def escaped(cells: Sequence[str]) -> list[str]:
        return [cell.replace("|", "\\|") for cell in cells]

    notes = "".join(f"- {note}\n" for note in table.notes)
    body = _tabulate(escaped(table.header), list(map(escaped, table.rows)), "github")
    return f"**{table.title}**\n\n{body}\n\n{notes}"


def _latex(table: Table) -> str:
    notes = "".join(f"% {note}\n" for note in table.notes)
    return f"% {table.title}\n{_tabulate(table.header, table.rows, 'latex_booktabs')}\n{notes}"


def _html(table: Table) -> str:
    from html import escape

    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    body = _tabulate(table.header, table.rows, "html")
    return f"<h3>{escape(table.title)}</h3>\n{body}\n<ul>{notes}</ul>\n"


def _csv(records: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(out, names, lineterminator="\n", restval="")
    if names:
        writer.writeheader()
    writer.writerows({name: "" if value != value else value for name, value in record.items()} for record in records)
    return out.getvalue()
