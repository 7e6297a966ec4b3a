"""Leaderboards: mean and sd over seeds per method, among cells that are comparable."""

from __future__ import annotations

import json
import math
import statistics as numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ltbench.results.published import published_score
from ltbench.results.record import Result
from ltbench.results.render import Table, render
from ltbench.results.rows import CONDITIONS, FACTS, as_rows, comparable, conditions, grouped, known, newest
from ltbench.results.store import counted

if TYPE_CHECKING:
    from ltbench.results.rows import Rows
    from ltbench.results.standing import Standing

MOST_CELLS = 500  # whose predictions are read unasked
FEW_VALIDATION = 5  # images of a class
HEADLINE = ("macro_f1", "balanced_accuracy", "mcc", "accuracy")
LOWER_IS_BETTER = ("ece", "nll", "brier", "fd", "kd", "nearest_ratio", "n_absent", "seconds")
NOT_PERCENT = ("nll", "brier", "fd", "kd", "n", "n_absent", "n_pool", "diversity")


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
) -> str:
    """One table per data set, protocol, weights, split and imbalance: mean ± sd (ddof 1) over seeds per method.

    results: of `load_results` or `load_rows`. Percent with two decimals; csv and json hold fractions. Cells whose
    method or protocol was renamed by an override are left out unless asked for. statistics: interval and ties of the
    metric, by default for up to 500 cells, whose predictions must be read. Raises UnknownName for a metric, data set,
    protocol or format that is not there.
    """
    found = tables(results, dataset, metric, published, protocol, include_renamed, statistics)
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
) -> list[Table]:
    """The tables of `leaderboard` before they become text."""
    rows = as_rows(results)
    for column, value in (("dataset", dataset), ("protocol", protocol)):
        if value is not None and rows:
            known(column, value, (row[column] for row in rows))
            rows = [row for row in rows if row[column] == value]
    if not rows:
        return []
    if not any(isinstance(row.get(metric), float) for row in rows):
        known("metric", metric, {name for row in rows for name, value in row.items() if isinstance(value, float)})
    if not include_renamed:
        rows = [row for row in rows if row["standard"]]
    statistics = len(rows) <= MOST_CELLS if statistics is None else statistics
    return [_table(group, metric, published, statistics) for group in comparable(rows)]


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


def _table(rows: Sequence[Mapping[str, Any]], metric: str, published: bool, statistics: bool = False) -> Table:
    shown = HEADLINE if metric in HEADLINE else (metric, *HEADLINE)
    latest = newest(rows)
    records = [_aggregate(group, shown) for group in grouped(latest, lambda row: row["method"]).values()]
    lower = _base(metric) in LOWER_IS_BETTER
    sign = 1 if lower else -1
    records.sort(key=lambda r: (math.isnan(r[f"{metric}_mean"]), sign * r[f"{metric}_mean"], r["method"]))
    standing: dict[str, Standing] = {}
    notes: list[str] = []
    if statistics and not lower:
        from ltbench.results.standing import standing_notes, standings

        standing = standings(latest, metric, [r["method"] for r in records])
    header = ["method", *shown, "seeds", "seconds"]
    if standing:
        header[2:2], header[1:1] = ["95 %"], ["rank"]
    printed = []
    for record in records:
        row = _printed(record, shown, _marked(record, notes))
        if standing:
            _add_standing(record, row, standing[record["method"]], metric)
        if published:
            found = published_score(record["dataset"], record["method"], metric, record["protocol"])
            value = found["score"] if found else math.nan
            record |= {"published": value, "difference": record[f"{metric}_mean"] - value}
            row += [_number(metric, value) if found else "", _number(metric, record["difference"], signed=True)]
            if found:
                _note(notes, f"published: {found['paper']} {found['table']}, its own protocol ({found['protocol_id']})")
        printed.append(row)
    for text in standing_notes(standing, metric) if standing else ():
        _note(notes, text)
    if len(latest) < len(rows):
        left = counted(len(rows) - len(latest), "older result")
        _note(notes, f"left out: {left} of the same method and seed, by component versions, then by finishing time")
    header += ["published", "difference"] if published else []
    return Table(_title(records[0]), header, printed, records, notes)


def _add_standing(record: dict[str, Any], row: list[str], standing: Standing, metric: str) -> None:
    record |= {f"{metric}_low": standing.low, f"{metric}_high": standing.high}
    record |= {"p_against_first": standing.p, "tied_with_first": standing.tied}
    bounds = [_number(metric, bound) for bound in (standing.low, standing.high)]
    row[2:2] = ["" if math.isnan(standing.low) else f"{' to '.join(bounds)}{'' if standing.seeds else ' °'}"]
    row[1:1] = [standing.rank]


def _aggregate(group: Sequence[Mapping[str, Any]], shown: tuple[str, ...]) -> dict[str, Any]:
    first = group[0]
    record: dict[str, Any] = dict(zip(CONDITIONS, conditions(first), strict=True))
    seeds = sorted(row["seed"] for row in group)
    record |= {"method": first["method"], "seeds": len(group), "seed_list": " ".join(map(str, seeds))}
    for name in shown:
        values = [_float(row.get(name)) for row in group]
        record |= {
            f"{name}_mean": numbers.fmean(values),
            f"{name}_sd": _deviation(values),
        }
    seconds = [value for value in (_float(row.get("seconds")) for row in group) if not math.isnan(value)]
    record["seconds"] = numbers.fmean(seconds) if seconds else math.nan
    record |= {name: _float(first[name]) for name in ("train_ratio", "smallest_val_class")}
    flags = {name: any(bool(row[name]) for row in group) for name in ("external", "assumed", "validation_is_test")}
    return {**record, **flags, "owns": first["owns"]}


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation with ddof 1, nan for one value."""
    if len(values) < 2:
        return math.nan
    mean = numbers.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _printed(record: dict[str, Any], shown: tuple[str, ...], name: str) -> list[str]:
    cells = []
    for metric in shown:
        mean, sd = record[f"{metric}_mean"], record[f"{metric}_sd"]
        cells.append(_number(metric, mean) + ("" if math.isnan(sd) else f" ± {_number(metric, sd)}"))
    seconds = record["seconds"]
    return [
        name,
        *cells,
        str(record["seeds"]),
        "" if math.isnan(seconds) else f"{seconds:.{0 if seconds >= 10 else 1}f}",
    ]


def _marked(record: dict[str, Any], notes: list[str]) -> str:
    name = str(record["method"])
    if record["external"]:
        name += " (external)"
        _note(notes, "(external): predictions of foreign code on the same test images; its training is its own word")
    if record["assumed"]:
        name += " (assumed)"
        _note(notes, "(assumed): a defining formula of the method is not in its paper and was chosen by ltbench")
    if record["validation_is_test"]:
        name += " †"
        _note(notes, "† the validation part is the test part, as released by the authors: an optimistic number")
    if record["smallest_val_class"] < FEW_VALIDATION:
        name += " ‡"
        _note(notes, f"‡ a validation class has fewer than {FEW_VALIDATION} images: the selection is noisy")
    owns = json.loads(record["owns"] or "{}")
    if owns:
        name += " *"
        _note(notes, f"* {record['method']} fixes " + "; ".join(f"{field} ({why})" for field, why in owns.items()))
    return name


def _title(record: dict[str, Any]) -> str:
    ratio = record["train_ratio"]
    imbalance = "" if math.isnan(ratio) else f", training imbalance {ratio:.1f}"
    imbalance += f" (set to {record['imbalance']})" if record["imbalance"] else ""
    return (
        f"{record['dataset']}, protocol {record['protocol']}, weights {record['weights'] or 'none'}, "
        f"split {record['split_scheme']} seed {record['split_seed']}{imbalance}, untuned defaults, percent"
    )


def _base(metric: str) -> str:
    return metric.rsplit(".", 1)[-1].split("[")[0].removesuffix("_floor").removesuffix("_matched")


def _number(metric: str, value: float, signed: bool = False) -> str:
    if math.isnan(value):
        return "" if signed else "n/a"
    plain = _base(metric) in NOT_PERCENT
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}" if plain else f"{100 * value:{sign}.2f}"


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
