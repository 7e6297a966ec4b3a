"""Leaderboards: mean and sd over seeds per method, among cells that are comparable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ltbench.results.published import published_score
from ltbench.results.record import Result
from ltbench.results.render import Table, render
from ltbench.results.standing import Standing, standing_notes, standings
from ltbench.results.store import counted
from ltbench.results.words import LOWER_IS_BETTER, base_name, known, marked, note, number, printed, table_title

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 500  # whose predictions are read unasked
RELEASED = "-as-released"
HEADLINE = ("macro_f1", "balanced_accuracy", "mcc", "accuracy")
CONDITIONS = ("dataset", "protocol", "weights", "split_scheme", "split_seed", "imbalance", "content")


def leaderboard(
    frame: pd.DataFrame,
    dataset: str | None = None,
    metric: str = "macro_f1",
    fmt: str = "table",
    published: bool = False,
    protocol: str | None = None,
    include_renamed: bool = False,
    statistics: bool | None = None,
    sort: str = "metric",
) -> str:
    """One table per data set, protocol, weights, split and imbalance: mean ± sd (ddof 1) over seeds per method.

    Percent with two decimals; csv and json hold fractions. Cells whose method or protocol was renamed by an override
    are left out unless asked for. statistics: interval and ties of the metric, by default for up to 500 cells, whose
    predictions must be read. sort: "metric" (best first), "seconds" or "method". Raises UnknownName for a metric,
    data set, protocol or format that is not there.
    """
    found = tables(frame, dataset, metric, published, protocol, include_renamed, statistics, sort)
    if not found and len(frame) and fmt not in ("csv", "json"):
        return "every result here has overridden options, so none is in the default table; show them with --all\n"
    return render(found, fmt)


def tables(
    frame: pd.DataFrame,
    dataset: str | None = None,
    metric: str = "macro_f1",
    published: bool = False,
    protocol: str | None = None,
    include_renamed: bool = False,
    statistics: bool | None = None,
    sort: str = "metric",
) -> list[Table]:
    """The tables of `leaderboard` before they become text."""
    kept = selected(frame, dataset, protocol, metric, include_renamed)
    statistics = len(kept) <= MOST_CELLS if statistics is None else statistics
    released = as_released(frame, metric) if published and len(frame) else {}
    return [_table(group, metric, published, statistics, released, sort) for group in comparable(kept)]


def selected(
    frame: pd.DataFrame,
    dataset: str | None = None,
    protocol: str | None = None,
    metric: str | None = None,
    include_renamed: bool = False,
) -> pd.DataFrame:
    """The cells of a data set and a protocol, without those that an override renamed unless asked for.

    Raises UserError for a data set or protocol that no cell has, UnknownName for such a metric.
    """
    if len(frame) == 0:
        return frame
    for column, value in (("dataset", dataset), ("protocol", protocol)):
        if value is not None:
            known(column, value, frame[column])
            frame = frame[frame[column] == value]
    if metric is not None:
        known("metric", metric, [name for name in frame.columns if frame[name].dtype.kind == "f"])
    return frame if include_renamed else frame[frame["standard"].astype(bool)]


def as_released(frame: pd.DataFrame, metric: str) -> dict[tuple[str, str, str], float]:
    """Mean of the metric under as-released protocols, by data set, clean name of the protocol, and method."""
    kept = frame[frame["protocol"].astype(str).str.endswith(RELEASED)]
    groups = kept.groupby(["dataset", "protocol", "method"]) if len(kept) else ()
    return {
        (str(d), str(p).removesuffix(RELEASED), str(m)): float(newest(cells)[metric].astype(float).mean(skipna=False))
        for (d, p, m), cells in groups
    }


def row_table(result: Result, frame: pd.DataFrame) -> str:
    """The row of a fresh run above what the store holds under the same conditions."""
    import pandas as pd

    fresh = pd.DataFrame([result.row()])
    key = _conditions(fresh).iloc[0].tolist()
    stored = frame[(_conditions(frame) == key).all(axis=1)] if len(frame) else frame
    if len(stored):
        stored = stored[stored["standard"].astype(bool) | (stored["method"] == result.cell["method"])]
    own = _table(fresh, "macro_f1", False)
    first = [f"this run: {own.rows[0][0]}, seed {result.cell['seed']}", *own.rows[0][1:]]
    others = _table(stored, "macro_f1", False) if len(stored) else Table(own.title, own.header, [])
    notes = list(dict.fromkeys([*own.notes, *others.notes]))
    return render([Table(own.title, own.header, [first, *others.rows], others.records, notes)], "table")


def comparable(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The cells of each table: those of one data set, protocol, weights, split and imbalance."""
    if len(frame) == 0:
        return []
    keys = _conditions(frame).agg("\x1f".join, axis=1)
    return [group for _, group in frame.groupby(keys, sort=True)]


def _conditions(frame: pd.DataFrame) -> pd.DataFrame:
    columns = frame.reindex(columns=list(CONDITIONS)).astype(object)
    return columns.where(columns.notna(), "").astype(str)


def _table(
    frame: pd.DataFrame,
    metric: str,
    published: bool,
    statistics: bool = False,
    released: Mapping[tuple[str, str, str], float] | None = None,
    sort: str = "metric",
) -> Table:
    shown = HEADLINE if metric in HEADLINE else (metric, *HEADLINE)
    latest = newest(frame)
    records = [aggregate(group, shown) for _, group in latest.groupby("method")]
    sign = 1 if base_name(metric) in LOWER_IS_BETTER else -1
    records.sort(key=lambda r: (math.isnan(r[f"{metric}_mean"]), sign * r[f"{metric}_mean"], r["method"]))
    lower = base_name(metric) in LOWER_IS_BETTER
    standing = standings(latest, metric, [r["method"] for r in records]) if statistics and not lower else {}
    if sort != "metric":
        records.sort(key=lambda r: r[sort])
    header = ["method", *shown, "seeds", "seconds"]
    if standing:
        header[2:2], header[1:1] = ["95 %"], ["rank"]
    notes: list[str] = []
    rows = []
    leaks = {r["method"]: (released or {}).get((r["dataset"], r["protocol"], r["method"]), math.nan) for r in records}
    leaky = not all(map(math.isnan, leaks.values()))
    for record in records:
        row = _row_text(record, shown, marked(record, notes))
        if standing:
            _add_standing(record, row, standing[record["method"]], metric)
        if leaky:
            row += _landmark(record, metric, "as_released", leaks[record["method"]])
        if published:
            found = published_score(record["dataset"], record["method"], metric, record["protocol"])
            row += _landmark(record, metric, "published", found["score"] if found else math.nan)
            if found:
                note(notes, f"published: {found['paper']} {found['table']}, its own protocol ({found['protocol_id']})")
        rows.append(row)
    for text in standing_notes(standing, metric):
        note(notes, text)
    if len(latest) < len(frame):
        note(notes, f"left out: {counted(len(frame) - len(latest), 'older result')} of the same method and seed")
    if leaky:
        header += ["as released", "difference"]
        note(notes, "as released: the same method under the authors' released split and selection")
    header += ["published", "difference"] if published else []
    return Table(table_title(records[0]), header, rows, records, notes)


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """The latest cell of each method and seed."""
    return frame.sort_values("finished", kind="stable").drop_duplicates(["method", "seed"], keep="last")


def _landmark(record: dict[str, Any], metric: str, name: str, value: float) -> list[str]:
    """Two columns, another number and ours minus it; both join the record."""
    prefix = "" if name == "published" else f"{name}_"
    difference = record[f"{metric}_mean"] - value
    record |= {name: value, f"{prefix}difference": difference}
    return ["" if math.isnan(value) else number(metric, value), number(metric, difference, signed=True)]


def _add_standing(record: dict[str, Any], row: list[str], standing: Standing, metric: str) -> None:
    record |= {f"{metric}_low": standing.low, f"{metric}_high": standing.high}
    record |= {"p_against_first": standing.p, "tied_with_first": standing.tied}
    bounds = [number(metric, bound) for bound in (standing.low, standing.high)]
    row[2:2] = ["" if math.isnan(standing.low) else f"{' to '.join(bounds)}{'' if standing.seeds else ' °'}"]
    row[1:1] = [standing.rank]


def aggregate(group: pd.DataFrame, shown: tuple[str, ...]) -> dict[str, Any]:
    """The conditions of a group of cells, mean and sd of the metrics over its cells, and the marks of its method."""
    first = group.iloc[0]
    record: dict[str, Any] = dict(zip(CONDITIONS, _conditions(group).iloc[0], strict=True))
    record |= {"method": first["method"], "seeds": len(group), "seed_list": " ".join(map(str, sorted(group["seed"])))}
    for name in shown:
        values = group[name].astype(float)
        record |= {
            f"{name}_mean": float(values.mean(skipna=False)),
            f"{name}_sd": float(values.std(ddof=1, skipna=False)),
        }
    record["seconds"] = float(group["seconds"].astype(float).mean())
    record |= {name: float(first[name]) for name in ("train_ratio", "smallest_val_class")}
    flags = {name: bool(group[name].astype(bool).any()) for name in ("external", "assumed", "validation_is_test")}
    return {**record, **flags, "owns": first["owns"]}


def _row_text(record: dict[str, Any], shown: tuple[str, ...], name: str) -> list[str]:
    cells = []
    for metric in shown:
        cells.append(printed(metric, record[f"{metric}_mean"], record[f"{metric}_sd"]))
    seconds = record["seconds"]
    return [
        name,
        *cells,
        str(record["seeds"]),
        "" if math.isnan(seconds) else f"{seconds:.{0 if seconds >= 10 else 1}f}",
    ]
