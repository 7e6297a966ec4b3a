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
from ltbench.results.tables import AS_RELEASED, OF_OURS, RELEASED, aggregate, released
from ltbench.results.words import as_the_paper, marked, note, number, printed, table_title
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

    published: the paper's number beside each metric, and ours minus it unless the imbalance was set, the options were
    tuned or another data set stands in. A data set without any measured row, or of the paper and not to be had, has one
    table of the paper's numbers alone.
    Raises UserError for a data set or protocol that no cell has.
    """
    rows = selected(results, dataset, protocol, None, include_renamed)
    clean = printable(suite, rows, dataset)
    found = []
    for name in [dataset] if dataset else suite.datasets:
        groups = comparable(row for row in clean if row["dataset"] == name)
        found += [_table(suite, name, group, results, published) for group in groups or [[]]]
    if published and not dataset:
        found += [_table(suite, name, [], results, published) for name in suite.absent]
    return render(found, fmt)


def printable(suite: Suite, rows: Sequence[Mapping[str, Any]], dataset: str | None) -> list[Mapping[str, Any]]:
    """The rows of its methods, renamed by an override or not, on its data sets or the one that was asked for."""
    methods = {method for _, method in (*suite.rows, *suite.controls)}
    datasets = [dataset] if dataset else suite.datasets
    return [
        row
        for row in rows
        if _plain(row) in methods and row["dataset"] in datasets and not row["protocol"].endswith(RELEASED)
    ]


def columns(suite: Suite) -> list[str]:
    """The columns of rows that the tables of a suite read."""
    metrics = (row["metric_id"] for row in load_published() if _table_of(row) == suite.published)
    return list(dict.fromkeys((*CONDITIONS, *FACTS, "macro_f1", "accuracy", *filter(None, metrics))))


def _table_of(row: Mapping[str, Any]) -> str:
    return f"{row['paper']}/{row['table']}"


def _plain(row: Mapping[str, Any]) -> str:
    """The method's id without the overrides behind it; foreign code has none."""
    return str(row["method"]) if row["external"] else str(row["method"]).partition("+")[0]


def _table(suite: Suite, dataset: str, group: Sequence[Mapping[str, Any]], results: Rows, published: bool) -> Table:
    source = suite.stands_for.get(dataset, dataset)
    printed_there = _printed_there(suite, source)
    first = suite.stands_for.get(suite.datasets[0], suite.datasets[0])
    metrics = list(dict.fromkeys(metric for _, metric in printed_there or _printed_there(suite, first)))
    metrics = metrics or ["macro_f1", "balanced_accuracy", "accuracy"]
    measured = grouped(newest(group), lambda row: row["method"])
    shared = aggregate(group[:1], ()) if group else None
    alike = source == dataset and dataset not in suite.absent and (shared is None or as_the_paper(shared))
    protocol = shared["protocol"] if shared else suite.protocol
    leaks = released(results, group) if group else {}
    parts = ["mean", *(["as_released", "as_released_difference"] if leaks else [])]
    beside = published and bool(printed_there)
    parts += ["published"] if beside else []
    parts += ["difference", *(["released_difference"] if leaks else [])] if beside and alike else []
    columns = [(metric, part) for metric in metrics for part in parts]
    notes: list[str] = []
    records, rows = list[dict[str, Any]](), list[list[str]]()
    for name, method in (*suite.rows, *suite.controls):
        for label in [label for label, cells in measured.items() if _plain(cells[0]) == method] or [method]:
            cells = measured.get(label, [])
            record: dict[str, Any] = {"dataset": dataset, "protocol": protocol, "row": name, "method": label}
            record |= {"seeds": len(cells)}
            shown = marked(aggregate(cells, ()), notes) if cells else label
            for metric in metrics:
                theirs = printed_there.get((name, metric), math.nan)
                record |= _numbers(metric, cells, theirs, leaks.get(label, []), alike)
            records.append(record)
            rows.append([name, shown, str(record["seeds"] or ""), *(_text(record, m, part) for m, part in columns)])
    header = ["row of the paper", "method", "seeds", *(_heading(metric, part) for metric, part in columns)]
    if leaks:
        note(notes, AS_RELEASED)
    if published and source == dataset and shared and not alike:
        note(notes, OF_OURS)
    if published and not printed_there:
        note(notes, f"the paper prints nothing for {dataset}")
    notes += _notes(suite, dataset, source, protocol, records, beside)
    title = table_title(shared) if shared else f"{dataset}, protocol {protocol}, percent"
    return Table(f"{suite.title}: {title}", header, rows, records, notes)


def _printed_there(suite: Suite, source: str) -> dict[tuple[str, str], float]:
    """The paper's scores by row and metric, without its FID, which is no number of ours."""
    return {
        (row["method"], row["metric_id"]): row["score"]
        for row in load_published()
        if (_table_of(row), row["dataset_id"]) == (suite.published, source)
        and row["score"] is not None
        and row["metric_id"] != "fid"
    }


def _numbers(
    metric: str,
    cells: Sequence[Mapping[str, Any]],
    theirs: float,
    leaks: Sequence[Mapping[str, Any]],
    alike: bool,
) -> dict[str, float]:
    values = numbers(cells, metric)
    mean, leak = (statistics.fmean(x) if x else math.nan for x in (values, numbers(leaks, metric)))
    return {
        f"{metric}_mean": mean,
        f"{metric}_sd": deviation(values),
        f"{metric}_as_released": leak,
        f"{metric}_as_released_difference": mean - leak,
        f"{metric}_published": theirs,
        f"{metric}_difference": mean - theirs if alike else math.nan,
        f"{metric}_released_difference": leak - theirs if alike else math.nan,
    }


def _text(record: Mapping[str, Any], metric: str, part: str) -> str:
    value = record[f"{metric}_{part}"]
    if math.isnan(value):
        return "not run" if part == "mean" and not record["seeds"] else ""
    if part == "mean":
        return printed(metric, value, record[f"{metric}_sd"])
    return number(metric, value, signed=part.endswith("difference"))


def _heading(metric: str, part: str) -> str:
    words = {"as_released": "as released", "published": "paper", "difference": "ours - paper"}
    words |= {"as_released_difference": "ours - released", "released_difference": "released - paper"}
    return words.get(part, metric)


def _notes(
    suite: Suite, dataset: str, source: str, protocol: str, records: Sequence[Mapping[str, Any]], published: bool
) -> list[str]:
    notes: list[str] = []
    if published and source != dataset:
        note(notes, f"paper: its numbers on {source}, which cannot be had; {dataset} stands in and is not comparable")
    elif published and dataset in suite.absent:
        note(notes, f"the paper's numbers on {dataset}, which cannot be had")
    elif published and protocol != suite.protocol:
        note(notes, f"paper: under its own protocol ({suite.protocol}); beside {protocol} it is a landmark, no target")
    if published and any(
        row["metric_id"] == "fid" and row["score"] is not None
        for row in load_published()
        if (_table_of(row), row["dataset_id"]) == (suite.published, source)
    ):
        note(notes, "the paper's FID is in leaderboards/published: of other weights and numbers of images than ours")
    absent = sum(not record["seeds"] for record in records)
    if absent and dataset not in suite.absent:
        note(notes, f"{counted(absent, 'row')} of {len(records)} not measured under these conditions")
    return notes
