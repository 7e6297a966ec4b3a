"""The tail card (every class with its interval, groups, calibration) and mean ranks over data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.errors import UserError
from ltbench.metrics import average_ranks, jeffreys
from ltbench.results.record import read_result
from ltbench.results.render import Table, render
from ltbench.results.tables import LOWER_IS_BETTER, comparable, newest

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("many_accuracy", "medium_accuracy", "few_accuracy")
CALIBRATION = ("ece", "nll", "brier")


def chosen_methods(frame: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The rows of these methods; UserError for one that has none."""
    absent = sorted(set(methods) - set(frame["method"]))
    if absent:
        raise UserError(
            f"no stored result of method {absent[0]!r}; there are: {', '.join(sorted(set(frame['method'])))}"
        )
    return frame[frame["method"].isin(methods)]


def tail_card(
    frame: pd.DataFrame,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """One table per comparable group: recall of each class with a 95 % Jeffreys interval, worst class, groups, ECE."""
    kept = _kept(frame, dataset, protocol, include_renamed)
    return render([_card(group) for group in comparable(kept)], fmt)


def rank_table(
    frame: pd.DataFrame,
    metric: str = "macro_f1",
    protocol: str | None = None,
    *,
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """Mean rank over the data sets of a protocol of the methods that have all of them, with Nemenyi's difference."""
    kept = _kept(frame, None, protocol, include_renamed)
    if len(kept) and metric not in kept:
        raise UserError(f"no stored result has the metric {metric!r}")
    groups = kept.groupby(["protocol", "tuning"]) if len(kept) else ()
    tables = [
        _ranks(group, f"{name}, tuned, {tuning}" if tuning else str(name), metric) for (name, tuning), group in groups
    ]
    return render(tables, fmt)


def _kept(frame: pd.DataFrame, dataset: str | None, protocol: str | None, include_renamed: bool) -> pd.DataFrame:
    for column, value in (("dataset", dataset), ("protocol", protocol)):
        if value is not None:
            frame = frame[frame[column] == value]
    return frame if include_renamed or not len(frame) else frame[frame["standard"].astype(bool)]


def _card(group: pd.DataFrame) -> Table:
    latest, records, rows = newest(group), [], []
    names: list[str] = []
    for method, cells in latest.groupby("method"):
        results = [read_result(folder) for folder in cells["folder"]]
        first = results[0].data["data"]
        names = list(first.get("class_names") or map(str, range(len(results[0].metrics["per_class_recall"]))))
        recall = np.mean([r.metrics["per_class_recall"] for r in results], axis=0)
        n = np.asarray(results[0].metrics["confusion"]).sum(axis=1)
        low, high = jeffreys(np.clip(np.nan_to_num(recall) * n, 0, n), n)
        means = {key: float(np.mean([r.metrics[key] for r in results])) for key in (*GROUPS, *CALIBRATION)}
        worst = int(np.nanargmin(recall))
        records.append(
            {"dataset": cells["dataset"].iloc[0], "method": method, "seeds": len(results), "worst": names[worst]}
            | means
            | {f"{name}_{key}": float(x[k]) for k, name in enumerate(names) for key, x in _parts(recall, low, high, n)}
        )
        cards = [_cell(*values) for values in zip(recall, low, high, strict=True)]
        shown = [_percent(means[key]) for key in (*GROUPS, "ece")]
        rows.append([str(method), *cards, f"{names[worst]} {_percent(recall[worst])}", *shown])
        rows[-1] += [f"{means[key]:.3f}" for key in ("nll", "brier")]
        header = [f"{name} (n={int(k)})" for name, k in zip(names, n, strict=True)]
    order = np.argsort([-np.nanmin([r[f"{name}_recall"] for name in names]) for r in records], kind="stable")
    dataset, protocol, tuning = (str(latest[name].iloc[0]) for name in ("dataset", "protocol", "tuning"))
    tuned = f", tuned, {tuning}" if tuning else ""
    title = f"{dataset}, protocol {protocol}{tuned}: recall by class and calibration, percent"
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


def _ranks(group: pd.DataFrame, protocol: str, metric: str) -> Table:
    table = newest_mean(group, metric)
    complete = table.dropna(axis=1)
    title = f"mean ranks by {metric}, protocol {protocol}, {len(table)} data sets: {', '.join(map(str, table.index))}"
    if complete.shape[1] < 2:
        return Table(title, ["method", "mean rank"], [], [], ["fewer than two methods have all data sets"])
    higher = metric.rsplit(".", 1)[-1] not in LOWER_IS_BETTER
    found = average_ranks(complete.to_numpy(), higher_is_better=higher)
    order = np.argsort(found.ranks, kind="stable")
    names = [str(complete.columns[i]) for i in order]
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
    left = table.shape[1] - complete.shape[1]
    notes += [f"{left} methods lack a data set and are left out"] if left else []
    return Table(title, ["method", "mean rank", ""], rows, records, notes)


def newest_mean(group: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over seeds of a metric, (data sets, methods), nan if absent; of each data set the largest table."""
    largest = {str(g["dataset"].iloc[0]): g for g in sorted(comparable(group), key=len)}
    import pandas as pd

    return pd.DataFrame({name: newest(g).groupby("method")[metric].mean() for name, g in largest.items()}).T
