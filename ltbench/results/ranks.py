"""Mean ranks of methods over data sets, with the critical difference."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.errors import UserError
from ltbench.metrics import average_ranks
from ltbench.results.render import Table, render
from ltbench.results.rows import comparable, grouped, newest, numbers, selected
from ltbench.results.store import counted
from ltbench.results.tables import aggregate
from ltbench.results.words import higher_is_better, marked, note, options, table_title

if TYPE_CHECKING:
    from ltbench.results.rows import Rows

LEAST = 3  # methods in common, and data sets, below which none is left out: two cannot tell three methods apart


@dataclass(frozen=True)
class RankGroup:
    """What is ranked together: a table of each data set, of a method's cells of one seed the newest.

    left_out: data sets with too few methods in common. several: those of which other tables are measured, too.
    """

    protocol: str
    tuning: str
    tables: dict[str, list[Mapping[str, Any]]]
    left_out: tuple[str, ...] = ()
    several: tuple[str, ...] = ()

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
    """Mean rank over the data sets of a protocol of the methods that have all of them, with Nemenyi's difference.

    Raises UserError where there are not two such methods.
    """
    kept = selected(results, None, protocol, metric, include_renamed)
    groups = list(rank_groups(kept, metric))
    if groups and all(len(group.scores(metric)[0]) < 2 for group in groups):
        raise UserError(
            f"ranks need two methods that have {metric} on the same data sets; run another, or count rows of "
            "overridden options with --all"
        )
    return render([_ranks(group, metric) for group in groups], fmt)


def rank_groups(rows: Sequence[Mapping[str, Any]], metric: str) -> Iterator[RankGroup]:
    """The groups of each protocol and tuning budget, of cells that have the metric.

    Of several tables of one data set the one counts whose methods are on most other data sets, then the one with most
    cells, then the first of them by its conditions. Where fewer than three methods have all data sets, those are left
    out, one by one, without which most methods have all, down to three data sets.
    """
    measured = [row for row in rows if not math.isnan(numbers([row], metric)[0])]
    groups = grouped(measured, lambda row: (row["protocol"], row.get("tuning") or ""))
    for (protocol, tuning), group in sorted(groups.items()):
        places = Counter(method for _, method in {(row["dataset"], row["method"]) for row in group})
        by_dataset = grouped(map(newest, comparable(group)), lambda cells: cells[0]["dataset"])
        chosen = {
            name: max(tables, key=lambda cells: (sum(places[m] - 1 for m in _methods(cells)), len(cells)))
            for name, tables in by_dataset.items()
        }
        kept = _kept(chosen)
        several = tuple(sorted(name for name in kept if len(by_dataset[name]) > 1))
        yield RankGroup(protocol, tuning, kept, tuple(sorted(chosen.keys() - kept.keys())), several)


def _kept(tables: dict[str, list[Mapping[str, Any]]]) -> dict[str, list[Mapping[str, Any]]]:
    """The data sets that are ranked; all of them where no choice of them shares two methods."""
    steps = [tables]
    while len(steps[-1]) > 2:
        fewer = [{name: cells for name, cells in steps[-1].items() if name != left} for left in sorted(steps[-1])]
        steps.append(max(fewer, key=lambda some: len(_common(some))))
    good = [some for some in steps if min(len(some), len(_common(some))) >= LEAST]
    return next(iter([*good, *(some for some in steps if len(_common(some)) > 1), tables]))


def _methods(cells: Sequence[Mapping[str, Any]]) -> set[str]:
    return {cell["method"] for cell in cells}


def _common(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    return set.intersection(*map(_methods, tables.values()))


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
    if group.left_out:
        note(notes, f"data sets without enough of these methods left out: {', '.join(group.left_out)}")
    if group.several:
        names = ", ".join(group.several)
        text = f"other tables of {names} are measured, too: the one whose methods are on most data sets counts, then "
        note(notes, text + "the one with most cells")
    return Table(title, header, rows, records, [*notes, *group.titles])


def _means(cells: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """Mean over seeds of a metric by method, without nan."""
    scores = grouped((cell for cell in cells if not math.isnan(cell.get(metric, math.nan))), lambda c: c["method"])
    return {method: statistics.fmean(cell[metric] for cell in own) for method, own in scores.items()}
