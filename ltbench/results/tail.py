"""The tail card (every class with its interval, groups, calibration) and mean ranks over data sets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.metrics import average_ranks, jeffreys
from ltbench.results.record import read_result
from ltbench.results.render import Table, render
from ltbench.results.rows import comparable, grouped, newest, selected
from ltbench.results.words import higher_is_better, tuned

if TYPE_CHECKING:
    from ltbench.results.rows import Rows

GROUPS = ("many_accuracy", "medium_accuracy", "few_accuracy")
CALIBRATION = ("ece", "nll", "brier")


def tail_card(
    results: Rows,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """One table per comparable group: recall of each class with a 95 % Jeffreys interval, worst class, groups, ECE."""
    kept = selected(results, dataset, protocol, None, include_renamed)
    return render([_card(group) for group in comparable(kept)], fmt)


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
    groups = grouped(kept, lambda row: (row["protocol"], row.get("tuning") or ""))
    tables = [_ranks(groups[name, tuning], name + tuned(tuning), metric) for name, tuning in sorted(groups)]
    return render(tables, fmt)


def _card(group: Sequence[Mapping[str, Any]]) -> Table:
    latest, records, rows = newest(group), [], []
    names: list[str] = []
    for method, cells in grouped(latest, lambda row: row["method"]).items():
        results = [read_result(cell["folder"]) for cell in cells]
        first = results[0].data["data"]
        names = list(first.get("class_names") or map(str, range(len(results[0].metrics["per_class_recall"]))))
        recall = np.mean([r.metrics["per_class_recall"] for r in results], axis=0)
        n = np.asarray(results[0].metrics["confusion"]).sum(axis=1)
        low, high = jeffreys(np.clip(np.nan_to_num(recall) * n, 0, n), n)
        means = {key: float(np.mean([r.metrics[key] for r in results])) for key in (*GROUPS, *CALIBRATION)}
        worst = int(np.nanargmin(recall))
        alike = int((recall == recall[worst]).sum())
        worst_name = names[worst] if alike == 1 else f"{alike} classes"
        records.append(
            {"dataset": cells[0]["dataset"], "method": method, "seeds": len(results), "worst": names[worst]}
            | means
            | {f"{name}_{key}": float(x[k]) for k, name in enumerate(names) for key, x in _parts(recall, low, high, n)}
        )
        cards = [_cell(*values) for values in zip(recall, low, high, strict=True)]
        shown = [_percent(means[key]) for key in (*GROUPS, "ece")]
        rows.append([str(method), *cards, f"{worst_name} {_percent(recall[worst])}", *shown])
        rows[-1] += [f"{means[key]:.3f}" for key in ("nll", "brier")]
        header = [f"{name} (n={int(k)})" for name, k in zip(names, n, strict=True)]
    order = np.argsort([-np.nanmin([r[f"{name}_recall"] for name in names]) for r in records], kind="stable")
    budget = tuned(latest[0].get("tuning"))
    title = (
        f"{latest[0]['dataset']}, protocol {latest[0]['protocol']}{budget}: recall by class and calibration, percent"
    )
    return Table(
        title,
        ["method", *header, "worst class", "many", "medium", "few", "ece", "nll", "brier"],
        [rows[i] for i in order],
        [records[i] for i in order],
        [
            "[ ]: 95 % Jeffreys interval of the recall, n test images, seeds averaged; sorted by the worst class",
            "many, medium, few: mean recall of classes with over 100, 20 to 100 and under 20 training images",
        ],
    )


def _parts(recall: np.ndarray, low: np.ndarray, high: np.ndarray, n: np.ndarray) -> list[tuple[str, Any]]:
    return [("recall", recall), ("low", low), ("high", high), ("n", n)]


def _cell(value: float, low: float, high: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f}"


def _ranks(group: Sequence[Mapping[str, Any]], protocol: str, metric: str) -> Table:
    means = means_by_dataset(group, metric)
    everyone = sorted({method for scores in means.values() for method in scores})
    complete = [m for m in everyone if all(m in scores for scores in means.values())]
    title = f"mean ranks by {metric}, protocol {protocol}, {len(means)} data sets: {', '.join(means)}"
    if len(complete) < 2:
        return Table(title, ["method", "mean rank"], [], [], ["fewer than two methods have all data sets"])
    scores = np.array([[found[m] for m in complete] for found in means.values()])
    found = average_ranks(scores, higher_is_better=higher_is_better(metric))
    order = np.argsort(found.ranks, kind="stable")
    names = [complete[i] for i in order]
    ranks = [float(found.ranks[i]) for i in order]
    tied = [bool(rank - ranks[0] <= found.critical) for rank in ranks]
    rows = [[name, f"{rank:.2f}", "=" if t else ""] for name, rank, t in zip(names, ranks, tied, strict=True)]
    records = [
        {
            "protocol": protocol,
            "method": name,
            "rank": rank,
            "critical_difference": found.critical,
            "tied_with_first": t,
        }
        for name, rank, t in zip(names, ranks, tied, strict=True)
    ]
    if math.isnan(found.critical):
        return Table(title, ["method", "mean rank", ""], rows, records, ["one data set: ranks cannot be tested"])
    notes = [
        f"critical difference {found.critical:.2f} (Nemenyi, 5 %); = within it of the first; Friedman p = "
        f"{found.friedman_p:.3g}"
    ]
    left = len(everyone) - len(complete)
    notes += [f"{left} methods lack a data set and are left out"] if left else []
    return Table(title, ["method", "mean rank", ""], rows, records, notes)


def means_by_dataset(group: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[str, float]]:
    """Mean over seeds of a metric by data set and method, without nan; of each data set the largest table."""
    largest = {str(rows[0]["dataset"]): rows for rows in sorted(comparable(group), key=len)}
    return {name: _means(rows, metric) for name, rows in largest.items()}


def _means(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    scores = grouped((row for row in newest(rows) if not math.isnan(row.get(metric, math.nan))), lambda r: r["method"])
    return {method: statistics.fmean(row[metric] for row in cells) for method, cells in scores.items()}
