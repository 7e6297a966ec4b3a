"""Leaderboards: mean and sd over seeds per method, among cells that are comparable."""

from __future__ import annotations

import math
import statistics as means
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ltbench.errors import UnknownName
from ltbench.results.published import published_score
from ltbench.results.record import Result
from ltbench.results.render import Table, render
from ltbench.results.rows import (
    CONDITIONS,
    FACTS,
    age,
    as_rows,
    comparable,
    conditions,
    deviation,
    grouped,
    newest,
    numbers,
    selected,
    word,
)
from ltbench.results.store import counted
from ltbench.results.words import (
    HEADLINE,
    as_the_paper,
    higher_is_better,
    is_fraction,
    marked,
    note,
    number,
    printed,
    table_title,
)

if TYPE_CHECKING:
    from ltbench.results.rows import Rows
    from ltbench.results.standing import Standing

Card = Callable[[Sequence[Mapping[str, Any]], str], Table | None]
SECONDS = "seconds"
MOST_CELLS = 1000  # whose predictions are read unasked
MANY = f"more than {MOST_CELLS:,} cells, so that predictions are not read: intervals and ties with --statistics"
UNSURE = "no interval: {} cannot be resampled by its test images"
RELEASED = "-as-released"
ALIKE = ("dataset", "weights", "imbalance", "tuning")  # conditions that an as-released protocol leaves as they are
AS_RELEASED = (
    "as released: the same method under the authors' released split and selection; differences: ours minus it, and it "
    "minus the paper's"
)
SPLITS = "runs: of all splits and seeds; means over splits of means over seeds, ± over all runs"
OF_OURS = (
    "the imbalance was set or the options were tuned here: papers' numbers are no target, and no difference is printed"
)


def columns(metric: str) -> list[str]:
    """The columns of rows that a leaderboard of this metric reads."""
    return list(dict.fromkeys((*CONDITIONS, *FACTS, *HEADLINE, metric)))


def leaderboard(
    results: Rows,
    dataset: str | None = None,
    metric: str = "macro_f1",
    fmt: str = "table",
    published: bool = False,
    protocol: str | None = None,
    include_renamed: bool = False,
    statistics: bool | None = None,
    sort: str = "metric",
    splits: bool = False,
) -> str:
    """One table per data set, protocol, weights, split and imbalance: mean ± sd (ddof 1) over seeds per method.

    results: of `load_results` or `load_rows`. Percent with two decimals; csv and json hold fractions. Cells whose
    method or protocol was renamed by an override are left out unless asked for. statistics: interval and ties of the
    metric, by default for up to 1,000 cells, whose predictions are read. published: the papers' numbers, those under
    as-released protocols, and the differences. sort: "metric" (best first), "seconds" or "method". splits: cells whose
    splits differ by their seed alone share a table, means over splits of means over seeds. Raises UnknownName for a
    metric or format, UserError for a data set or protocol that is not there.
    """
    found = tables(results, dataset, metric, published, protocol, include_renamed, statistics, sort, splits)
    if not found and len(results) and fmt not in ("csv", "json"):
        return "every result here has overridden options, so none is in the default table; show them with --all\n"
    return render(found, fmt)


def tables(
    results: Rows,
    dataset: str | None = None,
    metric: str = "macro_f1",
    published: bool = False,
    protocol: str | None = None,
    include_renamed: bool = False,
    statistics: bool | None = None,
    sort: str = "metric",
    splits: bool = False,
) -> list[Table]:
    """The tables of `leaderboard` before they become text."""
    rows = selected(results, dataset, protocol, metric, include_renamed)
    too_many = statistics is None and len(rows) > MOST_CELLS
    statistics = not too_many if statistics is None else statistics
    everything = as_rows(results) if published else ()
    groups = comparable(rows, splits)
    found = [_table(group, metric, published, statistics, everything, sort) for group in groups]
    if too_many:
        found = [replace(table, notes=[*table.notes, MANY]) for table in found]
    return _told_apart(found)


def cards(
    card: Card,
    results: Rows,
    metric: str = HEADLINE[0],
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    also: Sequence[str] = (),
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """A card of every comparable group: `cost_card`, `gap_card` or `tail_card` of its newest cells.

    also: columns of the validation part that the card needs. Raises UserError for a data set or protocol that no cell
    has, UnknownName for such a column or format.
    """
    rows = selected(results, dataset, protocol, metric, include_renamed)
    absent = [column for column in also if not any(isinstance(row.get(column), float) for row in rows)]
    if rows and absent:
        raise UnknownName(
            f"none of these rows has {absent[0]}: costs, measures of synthetic images and rows of foreign predictions "
            "have no validation part"
        )
    found = [card(newest(group), metric) for group in comparable(rows)]
    return render([table for table in found if table], fmt)


def _told_apart(found: list[Table]) -> list[Table]:
    """Tables of one title are of other data: part of its hash joins the title."""
    titles = [table.title for table in found]
    return [
        replace(table, title=f"{table.title}, data {table.records[0]['content'][:8]}")
        if titles.count(table.title) > 1
        else table
        for table in found
    ]


def released(results: Rows, table: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """By method the newest cells under the as-released protocol of a table, at its other conditions but the split."""

    def alike(row: Mapping[str, Any]) -> list[str]:
        return [word for name, word in zip(CONDITIONS, conditions(row), strict=True) if name in ALIKE]

    protocol = table[0]["protocol"] + RELEASED
    rows = [row for row in as_rows(results) if row["protocol"] == protocol and alike(row) == alike(table[0])]
    latest = [max(cells, key=age) for cells in grouped(rows, lambda row: (row["method"], row["seed"])).values()]
    return grouped(latest, lambda row: row["method"])


def row_table(result: Result, results: Rows) -> str:
    """The row of a fresh run above what the store holds under the same conditions."""
    fresh = result.row()
    stored = [row for row in as_rows(results) if conditions(row) == conditions(fresh)]
    stored = [row for row in stored if row["standard"] or row["method"] == fresh["method"]]
    own = _table([fresh], "macro_f1", False)
    first = [f"this run: {own.rows[0][0]}, seed {result.cell['seed']}", *own.rows[0][1:]]
    others = _table(stored, "macro_f1", False) if stored else Table(own.title, own.header, [])
    notes = list(dict.fromkeys([*own.notes, *others.notes]))
    return render([Table(own.title, own.header, [first, *others.rows], others.records, notes)], "table")


def aggregate(cells: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> dict[str, Any]:
    """The conditions of a method's cells, mean and sd of the metrics over them, and what marks the method."""
    first = cells[0]
    record: dict[str, Any] = dict(zip(CONDITIONS, conditions(first), strict=True))
    seeds = sorted(cell["seed"] for cell in cells)
    record |= {"method": first["method"], "seeds": len(cells), "seed_list": " ".join(map(str, seeds))}
    by_split = grouped(cells, lambda cell: cell.get("split_seed") or 0)
    if len(by_split) > 1:
        record["split_seed"] = " ".join(map(word, sorted(by_split)))
    for name in shown:
        values = numbers(cells, name)
        parts = [values] if len(by_split) == 1 else [numbers(part, name) for part in by_split.values()]
        record |= {f"{name}_mean": means.fmean(map(means.fmean, parts)), f"{name}_sd": deviation(values)}
    seconds = [value for value in numbers(cells, SECONDS) if not math.isnan(value)]
    record[SECONDS] = means.fmean(seconds) if seconds else math.nan
    record |= {"train_ratio": numbers(cells[:1], "train_ratio")[0]}
    record |= {"smallest_val_class": min(numbers(cells, "smallest_val_class"))}
    flags = {name: any(bool(cell[name]) for cell in cells) for name in ("external", "assumed", "validation_is_test")}
    return {**record, **flags, "owns": first["owns"]}


def _table(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    published: bool,
    statistics: bool = False,
    everything: Sequence[Mapping[str, Any]] = (),
    sort: str = "metric",
) -> Table:
    shown = HEADLINE if metric in HEADLINE else (metric, *HEADLINE)
    latest = newest(rows)
    records = [aggregate(cells, shown) for cells in grouped(latest, lambda row: row["method"]).values()]
    sign = -1 if higher_is_better(metric) else 1
    records.sort(key=lambda r: (math.isnan(r[f"{metric}_mean"]), sign * r[f"{metric}_mean"], r["method"]))
    standing: dict[str, Standing] = {}
    notes: list[str] = []
    header = ["method", *shown, "seeds", *(["seconds"] if SECONDS not in shown else [])]
    if statistics:
        from ltbench.results.standing import standing_notes, standings

        standing = standings(latest, metric, [r["method"] for r in records])
        if not standing:
            note(notes, UNSURE.format(metric))
        header[2:2], header[1:1] = (["95 %"], ["rank"]) if standing else ([], [])
    leaks = released(everything, rows)
    papers: list[str] = []
    lines = []
    for record in records:
        line = _line(record, shown, marked(record, notes))
        if standing:
            _add_standing(record, line, standing[record["method"]], metric)
        if leaks:
            leak = numbers(leaks.get(record["method"], []), metric)
            line += _landmark(record, metric, "as_released", means.fmean(leak) if leak else math.nan)
        if published:
            found = published_score(record["dataset"], record["method"], metric, record["protocol"])
            line += _landmark(record, metric, "published", found["score"] if found else math.nan)
            if found and not as_the_paper(record):
                record["difference"], line[-1] = math.nan, ""
                note(notes, OF_OURS)
            if found:
                paper = f"{found['paper']} {found['table']}, under its own protocol ({found['protocol_id']})"
                papers += [] if paper in papers else [paper]
                line[-2] += f" [{papers.index(paper) + 1}]"
            if leaks:
                gap = record["as_released"] - record["published"] if as_the_paper(record) else math.nan
                record["released_difference"] = gap
                line.append(number(metric, gap, signed=True))
        lines.append((record, line))
    if sort != "metric":
        lines.sort(key=lambda pair: (pair[0][sort] != pair[0][sort], pair[0][sort]))  # nan last
    split_seeds = {row.get("split_seed") or 0 for row in latest}
    for text in standing_notes(standing, metric) if standing else ():
        note(notes, text)
    if len(latest) < len(rows):
        left = counted(len(rows) - len(latest), "older result")
        note(notes, f"left out: {left} of the same method and seed, by component versions, then by finishing time")
    for index, paper in enumerate(papers, 1):
        note(notes, f"[{index}] {paper}; beside another protocol it is a landmark, no target")
    if leaks:
        header += ["as released", "ours - released"]
        note(notes, AS_RELEASED)
    header += ["published", "ours - published", *(["released - published"] if leaks else [])] if published else []
    if len(split_seeds) > 1:
        note(notes, SPLITS)
        runs = grouped(latest, lambda row: row["method"])
        part = [
            name
            for name, cells in runs.items()
            if len({cell.get("split_seed") or 0 for cell in cells}) < len(split_seeds)
        ]
        if part:
            note(notes, f"not on all of these splits: {', '.join(part)}")
        header[header.index("seeds")] = "runs"
    title = table_title(records[0], split_seeds)
    title += "" if is_fraction(metric) else f" but for {metric}"
    return Table(title, header, [line for _, line in lines], [record for record, _ in lines], notes)


def _landmark(record: dict[str, Any], metric: str, name: str, value: float) -> list[str]:
    """Two columns, another number and ours minus it; both join the record."""
    difference = record[f"{metric}_mean"] - value
    record |= {name: value, "difference" if name == "published" else f"{name}_difference": difference}
    return ["" if math.isnan(value) else number(metric, value), number(metric, difference, signed=True)]


def _add_standing(record: dict[str, Any], line: list[str], standing: Standing, metric: str) -> None:
    record |= {f"{metric}_low": standing.low, f"{metric}_high": standing.high}
    record |= {"p_against_first": standing.p, "tied_with_first": standing.tied}
    bounds = [number(metric, bound) for bound in (standing.low, standing.high)]
    line[2:2] = ["" if math.isnan(standing.low) else f"{' to '.join(bounds)}{'' if standing.runs > 1 else ' °'}"]
    line[1:1] = [standing.rank]


def _line(record: Mapping[str, Any], shown: Sequence[str], name: str) -> list[str]:
    cells = [printed(metric, record[f"{metric}_mean"], record[f"{metric}_sd"]) for metric in shown]
    seconds = record[SECONDS]
    spent = "" if math.isnan(seconds) else f"{seconds:.{0 if seconds >= 10 else 1}f}"
    return [name, *cells, str(record["seeds"]), *([spent] if SECONDS not in shown else [])]
