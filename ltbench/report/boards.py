"""Leaderboards: one per data set, protocol and conditions, with a row per method over its seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ltbench.report.collect import Entry
from ltbench.report.plots import Point, front
from ltbench.report.ranks import Ranks, ranked
from ltbench.results.ranks import rank_groups
from ltbench.results.render import Table
from ltbench.results.rows import age, conditions, selected
from ltbench.results.tables import tables
from ltbench.results.words import higher_is_better, number

QUALITY = "macro_f1"


class Column(NamedTuple):
    """A column of numbers: its key in a row, heading, factor and decimals; lower: least first, whatever the key."""

    key: str
    heading: str
    factor: float = 100
    decimals: int = 2
    lower: bool = False

    @property
    def higher(self) -> bool:
        """Whether a higher value is better."""
        return not self.lower and higher_is_better(self.key)


COLUMNS = (
    Column("macro_f1", "Macro-F1"),
    Column("balanced_accuracy", "Balanced accuracy"),
    Column("mcc", "MCC"),
    Column("accuracy", "Accuracy"),
    Column("auc", "AUC"),
    Column("few_accuracy", "Few-shot recall"),
    Column("worst_recall", "Worst class of each seed"),
    Column("ece", "ECE"),
    Column("device_seconds", "Device-seconds", 1, 0),
    Column("peak_memory_bytes", "Memory, GB", 1e-9),
)


LANDMARKS = (
    Column("as_released", "As released"),
    Column("as_released_difference", "Ours − released"),
    Column("published", "Published"),
    Column("difference", "Ours − published"),
    Column("released_difference", "Released − published"),
)


class Value(NamedTuple):
    """What a table cell shows, and the number by which it sorts ("" where there is none)."""

    text: str
    sort: str


@dataclass(frozen=True)
class Line:
    """A method of a board: its name with marks, its newest cell of each seed, the values of the board's columns."""

    method: str
    label: str
    standard: bool
    entries: Sequence[Entry]
    values: Sequence[Value]
    quality: float
    cost: float


@dataclass(frozen=True)
class Board:
    """A leaderboard; `anchor` is its id in the pages, `best` the methods on the front of quality against cost.

    heading: data set and protocol, and where several boards share them, what sets this one apart.
    """

    anchor: str
    dataset: str
    protocol: str
    heading: str
    title: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    notes: Sequence[str]
    best: Sequence[Point]

    @property
    def points(self) -> list[Point]:
        """Cost and quality of every standard method, of all where none is standard."""
        return _points(self.lines)


def boards(entries: Sequence[Entry]) -> list[Board]:
    """Every board, in order of data set, protocol and conditions."""
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.key].append(entry)
    everything = [entry.row for entry in entries]
    found = tables(everything, metric=QUALITY, published=True, include_renamed=True, statistics=False)
    by_key = {conditions(table.records[0]): table for table in found}
    return _told_apart([_board(key, group, by_key[key]) for key, group in sorted(groups.items())])


def _told_apart(found: Sequence[Board]) -> list[Board]:
    """Boards of one heading get the parts of their titles that the others lack, else a part of their anchors."""
    result = []
    for board in found:
        others = [set(b.title.split(", ")) for b in found if b.heading == board.heading and b is not board]
        own = [part for part in board.title.split(", ") if not all(part in other for other in others)]
        extra = ", ".join(own) or f"data {board.anchor[-8:]}"
        result.append(dataclasses.replace(board, heading=f"{board.heading}, {extra}") if others else board)
    return result


def rankings(entries: Sequence[Entry]) -> list[tuple[str, list[str], Ranks]]:
    """Per protocol and tuning budget with two or more data sets: its name, the titles of the tables, and the ranks.

    Behind the titles stand the data sets that were left out.

    They are those of `ltbench leaderboard --ranks`.
    """
    result = []
    for group in rank_groups(selected([entry.row for entry in entries]), QUALITY):
        ranks = ranked(*group.scores(QUALITY))
        if ranks:
            titles = [title.removesuffix(", percent") for title in group.titles]
            left = [f"left out for want of common methods: {', '.join(group.left_out)}"] if group.left_out else []
            result.append((group.heading, titles + left, ranks))
    return result


def _board(key: tuple[str, ...], entries: Sequence[Entry], table: Table) -> Board:
    newest: dict[str, dict[int, Entry]] = defaultdict(dict)
    for entry in sorted(entries, key=lambda e: age(e.row)):
        newest[entry.row["method"]][entry.row["seed"]] = entry
    methods = {name: [found[seed] for seed in sorted(found)] for name, found in newest.items()}
    columns = [c for c in COLUMNS if any(_finite(e, c.key) for found in methods.values() for e in found)]
    columns += [c for c in LANDMARKS if any(math.isfinite(r.get(c.key, math.nan)) for r in table.records)]
    lines = [_line(table, index, methods, columns) for index in range(len(table.records))]
    standing, notes = _standing([entry.row for entry in entries])
    every = list(dict.fromkeys([*table.notes, *notes]))
    if standing:
        columns = [Column("rank", "Rank", lower=True), columns[0], Column("interval", "95 %"), *columns[1:]]
        lines = [dataclasses.replace(row, values=_with(standing.get(row.method), row.values)) for row in lines]
    best = front([p for p in _points(lines) if p.cost > 0 and math.isfinite(p.cost) and math.isfinite(p.quality)])
    anchor = "board-" + hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:10]
    title = table.title.replace(", percent", "")
    return Board(anchor, key[0], key[1], f"{key[0]}, {key[1]}", title, columns, lines, every, best)


def _points(lines: Sequence[Line]) -> list[Point]:
    shown = [row for row in lines if row.standard] or lines
    return [Point(row.method, row.cost, row.quality) for row in shown]


def _with(standing: tuple[Value, Value] | None, values: Sequence[Value]) -> list[Value]:
    """Rank before and interval after the first value; empty for a renamed method, which is in no ranking."""
    rank, interval = standing or (Value("", ""), Value("", ""))
    return [rank, values[0], interval, *values[1:]]


def _standing(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, tuple[Value, Value]], list[str]]:
    """Rank and interval of each method that is not renamed, as `ltbench leaderboard` has them, with its notes."""
    found = tables(rows, metric=QUALITY)
    if not found or "rank" not in found[0].header:
        return {}, []
    table = found[0]
    rank, interval = table.header.index("rank"), table.header.index("95 %")
    by_method = {
        record["method"]: (Value(line[rank], str(place)), Value(line[interval], repr(record[f"{QUALITY}_low"])))
        for place, (record, line) in enumerate(zip(table.records, table.rows, strict=True), 1)
    }
    return by_method, list(table.notes)


def _line(table: Table, index: int, methods: dict[str, list[Entry]], columns: Sequence[Column]) -> Line:
    record = table.records[index]
    entries = methods[record["method"]]
    values = [
        _landmark(table, index, c) if c in LANDMARKS else _value([score(e, c.key) for e in entries], c) for c in columns
    ]
    quality, cost = (statistics.fmean(score(e, k) for e in entries) for k in (QUALITY, "device_seconds"))
    standard = all(bool(e.row["standard"]) for e in entries)
    return Line(record["method"], table.rows[index][0], standard, entries, values, 100 * quality, cost)


def _landmark(table: Table, index: int, column: Column) -> Value:
    """A number that is not of these cells; with the mark of its paper, a difference with its sign."""
    value = table.records[index].get(column.key, math.nan)
    if not math.isfinite(value):
        return Value("n/a", "")
    if column.key == "published":
        return Value(table.rows[index][table.header.index("published")], repr(column.factor * value))
    return Value(number(QUALITY, value, signed="difference" in column.key), repr(column.factor * value))


def score(entry: Entry, key: str) -> float:
    """A number of the cell's row, nan where it has none; `worst_recall` is the lowest recall of a class."""
    if key == "worst_recall":
        recall = [r for r in entry.result.metrics["per_class_recall"] if math.isfinite(r)]
        return min(recall, default=math.nan)
    value: Any = entry.row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _finite(entry: Entry, key: str) -> bool:
    return math.isfinite(score(entry, key))


def _value(values: Sequence[float], column: Column) -> Value:
    """Mean and, over two or more values, the standard deviation (ddof 1), as in `ltbench leaderboard`."""
    scaled = [column.factor * v for v in values]
    mean = statistics.fmean(scaled)
    if not math.isfinite(mean):
        return Value("n/a", "")
    spread = f" ± {statistics.stdev(scaled):,.{column.decimals}f}" if len(scaled) > 1 else ""
    return Value(f"{mean:,.{column.decimals}f}{spread}", repr(mean))
