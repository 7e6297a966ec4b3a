"""A paper's table row by row: what it prints beside what was measured, and under its released protocol."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ltbench.results.published import load_published
from ltbench.results.render import Table, render
from ltbench.results.rows import CONDITIONS, FACTS, comparable, deviation, grouped, newest, numbers, selected
from ltbench.results.store import counted
from ltbench.results.tables import RELEASED, aggregate, as_released
from ltbench.results.words import marked, note, number, printed
from ltbench.suites import Suite

if TYPE_CHECKING:
    from ltbench.results.rows import Rows


def suite_tables(
    suite: Suite,
    results: Rows,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    published: bool = False,
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """A table for each data set and each protocol under which rows were measured, in the paper's order and metrics.

    published: the paper's number and ours minus it beside each metric. A data set without any measured row has one
    table of the paper's numbers alone. Raises UserError for a data set or protocol that no cell has.
    """
    rows = selected(results, dataset, protocol, None, include_renamed)
    methods = {method for _, method in (*suite.rows, *suite.controls)}
    clean = [row for row in rows if _plain(row["method"]) in methods and not row["protocol"].endswith(RELEASED)]
    found = []
    for name in [dataset] if dataset else suite.datasets:
        groups = comparable(row for row in clean if row["dataset"] == name)
        found += [_table(suite, name, group, results, published) for group in groups or [[]]]
    return render(found, fmt)


def columns(suite: Suite) -> list[str]:
    """The columns of rows that the tables of a suite read."""
    metrics = (row["metric_id"] for row in load_published() if _table_of(row) == suite.published)
    return list(dict.fromkeys((*CONDITIONS, *FACTS, "macro_f1", "accuracy", *filter(None, metrics))))


def _table_of(row: Mapping[str, Any]) -> str:
    return f"{row['paper']}/{row['table']}"


def _plain(method: str) -> str:
    """The method's id without the overrides behind it."""
    return method.partition("+")[0]


def _table(suite: Suite, dataset: str, group: Sequence[Mapping[str, Any]], results: Rows, published: bool) -> Table:
    source = suite.stands_for.get(dataset, dataset)
    printed_there = _printed_there(suite, source)
    metrics = list(dict.fromkeys(metric for _, metric in printed_there)) or [
        "macro_f1",
        "balanced_accuracy",
        "accuracy",
    ]
    measured = grouped(newest(group), lambda row: row["method"])
    released = {metric: as_released(results, metric) for metric in metrics}
    protocol = group[0]["protocol"] if group else suite.protocol
    notes: list[str] = []
    records, rows, columns = (
        list[dict[str, Any]](),
        list[list[str]](),
        _columns(suite, dataset, protocol, metrics, published, released),
    )
    for name, method in (*suite.rows, *suite.controls):
        for label in [label for label in measured if _plain(label) == method] or [method]:
            cells = measured.get(label, [])
            record: dict[str, Any] = {"dataset": dataset, "protocol": protocol, "row": name, "method": label}
            record |= {"seeds": len(cells)}
            shown = marked(aggregate(cells, ()), notes) if cells else label
            for metric in metrics:
                theirs = printed_there.get((name, metric), math.nan)
                leak = released.get(metric, {}).get((dataset, protocol, label), math.nan)
                record |= _numbers(metric, cells, theirs, leak, alike=source == dataset)
            records.append(record)
            rows.append([name, shown, str(record["seeds"] or ""), *(_text(record, m, part) for m, part in columns)])
    header = ["row of the paper", "method", "seeds", *(_heading(metric, part) for metric, part in columns)]
    notes += _notes(suite, dataset, source, protocol, records, published)
    return Table(f"{suite.title}: {dataset}, protocol {protocol}, percent", header, rows, records, notes)


def _printed_there(suite: Suite, source: str) -> dict[tuple[str, str], float]:
    """The paper's scores by row and metric, without its FID, which is no number of ours."""
    return {
        (row["method"], row["metric_id"]): row["score"]
        for row in load_published()
        if (_table_of(row), row["dataset_id"]) == (suite.published, source)
        and row["score"] is not None
        and row["metric_id"] != "fid"
    }


def _columns(
    suite: Suite, dataset: str, protocol: str, metrics: Sequence[str], published: bool, released: Mapping[str, Any]
) -> list[tuple[str, str]]:
    parts = ["mean"]
    if any((d, p) == (dataset, protocol) for found in released.values() for d, p, _ in found):
        parts += ["as_released", "leak"]
    if published:
        parts += ["published"] + ([] if dataset in suite.stands_for else ["difference"])
    return [(metric, part) for metric in metrics for part in parts]


def _numbers(
    metric: str, cells: Sequence[Mapping[str, Any]], theirs: float, leak: float, *, alike: bool
) -> dict[str, float]:
    values = numbers(cells, metric)
    mean = statistics.fmean(values) if values else math.nan
    return {
        f"{metric}_mean": mean,
        f"{metric}_sd": deviation(values),
        f"{metric}_as_released": leak,
        f"{metric}_leak": leak - mean,
        f"{metric}_published": theirs,
        f"{metric}_difference": mean - theirs if alike else math.nan,
    }


def _text(record: Mapping[str, Any], metric: str, part: str) -> str:
    value = record[f"{metric}_{part}"]
    if math.isnan(value):
        return "not run" if part == "mean" and not record["seeds"] else ""
    if part == "mean":
        return printed(metric, value, record[f"{metric}_sd"])
    return number(metric, value, signed=part in ("difference", "leak"))


def _heading(metric: str, part: str) -> str:
    words = {"as_released": "as released", "leak": "minus clean", "published": "paper", "difference": "ours - paper"}
    return words.get(part, metric)


def _notes(
    suite: Suite, dataset: str, source: str, protocol: str, records: Sequence[Mapping[str, Any]], published: bool
) -> list[str]:
    notes: list[str] = []
    if published and source != dataset:
        note(notes, f"paper: its numbers on {source}, which cannot be had; {dataset} stands in and is not comparable")
    elif published and protocol != suite.protocol:
        note(notes, f"paper: under its own protocol ({suite.protocol}); beside {protocol} it is a landmark, no target")
    absent = sum(not record["seeds"] for record in records)
    if absent:
        note(notes, f"{counted(absent, 'row')} of {len(records)} not measured under these conditions")
    return notes
