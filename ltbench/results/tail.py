"""The tail card (every class with its interval, groups, calibration) and mean ranks over data sets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.metrics import average_ranks, jeffreys
from ltbench.results.render import Table, render
from ltbench.results.rows import comparable, grouped, newest, selected
from ltbench.results.store import counted, usable
from ltbench.results.tables import aggregate
from ltbench.results.words import higher_is_better, marked, note, options, table_title

if TYPE_CHECKING:
    from ltbench.results.record import Result
    from ltbench.results.rows import Rows

GROUPS = ("many_accuracy", "medium_accuracy", "few_accuracy")
USUAL = "classes with over 100, 20 to 100 and under 20 training images"
CALIBRATION = ("ece", "nll", "brier")


@dataclass(frozen=True)
class _Tail:
    """Of one cell: class names, recall (C,), test images (C,), means over groups, calibration, whose groups."""

    names: tuple[str, ...]
    recall: np.ndarray
    n: np.ndarray
    means: dict[str, float]
    own_groups: bool


@dataclass(frozen=True)
class RankGroup:
    """What is ranked together: of each data set the largest table, as its newest cells, by data set."""

    protocol: str
    tuning: str
    tables: dict[str, list[Mapping[str, Any]]]

    @property
    def heading(self) -> str:
        """ "quick, untuned defaults"."""
        return f"{self.protocol}, {options(self.tuning)}"

    @property
    def titles(self) -> list[str]:
        """The conditions of each data set's table."""
        return [table_title(aggregate(cells[:1], ())) for cells in self.tables.values()]

    def scores(self, metric: str) -> tuple[list[str], np.ndarray]:
        """The methods that have all data sets, and their means over seeds, (data sets, methods)."""
        means = [_means(cells, metric) for cells in self.tables.values()]
        methods = sorted(set.intersection(*map(set, means)))
        return methods, np.array([[scores[m] for m in methods] for scores in means])


def rank_table(
    results: Rows,
    metric: str = "macro_f1",
    protocol: str | None = None,
    *,
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """Mean rank over the data sets of a protocol of the methods that have all of them, with Nemenyi's difference."""
    kept = selected(results, None, protocol, metric, include_renamed)
    return render([_ranks(group, metric) for group in rank_groups(kept)], fmt)


def rank_groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[RankGroup]:
    """The groups of each protocol and tuning budget.

    Of several tables of one data set the one with the most methods counts, the first of them by its conditions.
    """
    groups = grouped(rows, lambda row: (row["protocol"], row.get("tuning") or ""))
    for (protocol, tuning), group in sorted(groups.items()):
        by_dataset = grouped(map(newest, comparable(group)), lambda cells: cells[0]["dataset"])
        yield RankGroup(protocol, tuning, {name: max(tables, key=_methods) for name, tables in by_dataset.items()})


def _methods(cells: Sequence[Mapping[str, Any]]) -> int:
    return len({cell["method"] for cell in cells})


def _tail(result: Result) -> _Tail:
    metrics = result.metrics
    recall = np.asarray(metrics["per_class_recall"], dtype=np.float64)
    n = np.asarray(metrics["confusion"], dtype=np.float64).sum(axis=1)
    names = tuple(result.data["data"].get("class_names") or map(str, range(len(recall))))
    if not recall.shape == n.shape == (len(names),):
        raise ValueError(f"{len(names)} classes, recall {recall.shape}, images {n.shape}")
    means = {key: float(metrics[key]) for key in (*GROUPS, *CALIBRATION)}
    return _Tail(names, recall, n, means, result.data["data"].get("shot_groups") is not None)


def tail_card(latest: Sequence[Mapping[str, Any]], _metric: str = "") -> Table | None:
    """Recall of each class with a 95 % Jeffreys interval, worst class, groups, ECE; None where no cell can be used."""
    read = [(cell, found) for cell in latest if (found := usable(cell["folder"], _tail))]
    if not read:
        return None
    names, n = read[0][1].names, read[0][1].n
    records, rows, notes = list[dict[str, Any]](), list[list[str]](), list[str]()
    for pairs in grouped(read, lambda pair: pair[0]["method"]).values():
        cells, found = zip(*pairs, strict=True)
        recall = np.mean([tail.recall for tail in found], axis=0)
        low, high = jeffreys(np.clip(np.nan_to_num(recall) * n, 0, n), n)
        means = {key: float(np.mean([tail.means[key] for tail in found])) for key in (*GROUPS, *CALIBRATION)}
        worst = int(np.nanargmin(recall))
        alike = int((recall == recall[worst]).sum())
        worst_name = names[worst] if alike == 1 else f"{alike} classes"
        records.append(
            aggregate(cells, ())
            | {"worst": names[worst]}
            | means
            | {f"{name}_{key}": float(x[k]) for k, name in enumerate(names) for key, x in _parts(recall, low, high, n)}
        )
        cards = [_cell(*values) for values in zip(recall, low, high, strict=True)]
        shown = [_percent(means[key]) for key in (*GROUPS, "ece")] + [f"{means[key]:.3f}" for key in ("nll", "brier")]
        line = [marked(aggregate(cells, ()), notes), *cards, f"{worst_name} {_percent(recall[worst])}", *shown]
        rows.append([*line, str(len(cells))])
    order = np.argsort([-np.nanmin([r[f"{name}_recall"] for name in names]) for r in records], kind="stable")
    note(notes, "[ ]: 95 % Jeffreys interval of the recall, n test images, seeds averaged; sorted by the worst class")
    whose = "groups of classes that the data set names" if any(tail.own_groups for _, tail in read) else USUAL
    note(notes, f"many, medium, few: mean recall of {whose}")
    header = [f"{name} (n={int(k)})" for name, k in zip(names, n, strict=True)]
    return Table(
        f"recall by class and calibration of {table_title(aggregate([read[0][0]], ()))}",
        ["method", *header, "worst class", "many", "medium", "few", "ece", "nll", "brier", "seeds"],
        [rows[i] for i in order],
        [records[i] for i in order],
        notes,
    )


def _parts(recall: np.ndarray, low: np.ndarray, high: np.ndarray, n: np.ndarray) -> list[tuple[str, Any]]:
    return [("recall", recall), ("low", low), ("high", high), ("n", n)]


def _cell(value: float, low: float, high: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f}"


def _ranks(group: RankGroup, metric: str) -> Table:
    cells = grouped((cell for table in group.tables.values() for cell in table), lambda cell: cell["method"])
    complete, scores = group.scores(metric)
    title = f"mean ranks by {metric}, protocol {group.heading}, {counted(len(group.tables), 'data set')}"
    header, notes = ["method", "mean rank", "", "seeds"], list[str]()
    if len(complete) < 2:
        return Table(title, header, [], [], ["fewer than two methods have all data sets:", *group.titles])
    found = average_ranks(scores, higher_is_better=higher_is_better(metric))
    rows, records = [], []
    for i in np.argsort(found.ranks, kind="stable"):
        own, rank = cells[complete[i]], float(found.ranks[i])
        tied = bool(rank - found.ranks.min() <= found.critical)
        seeds = sorted({sum(cell["dataset"] == name for cell in own) for name in group.tables})
        counts = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
        rows.append([marked(aggregate(own, ()), notes), f"{rank:.2f}", "=" if tied else "", counts])
        records.append(
            {"protocol": group.protocol, "tuning": group.tuning, "method": complete[i], "rank": rank}
            | {"critical_difference": found.critical, "tied_with_first": tied, "seeds": counts}
        )
    left = len(cells) - len(complete)
    if math.isnan(found.critical):
        note(notes, "one data set: ranks cannot be tested")
    else:
        p = f"Friedman p = {found.friedman_p:.3g}"
        note(notes, f"critical difference {found.critical:.2f} (Nemenyi, 5 %); = within it of the first; {p}")
    if left:
        note(notes, f"{counted(left, 'method')} without all data sets left out")
    return Table(title, header, rows, records, [*notes, *group.titles])


def _means(cells: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """Mean over seeds of a metric by method, without nan."""
    scores = grouped((cell for cell in cells if not math.isnan(cell.get(metric, math.nan))), lambda c: c["method"])
    return {method: statistics.fmean(cell[metric] for cell in own) for method, own in scores.items()}
