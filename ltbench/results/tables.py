"""Leaderboards: mean and sd over seeds per method, among cells that are comparable."""

from __future__ import annotations

import difflib
import json
import math
from typing import TYPE_CHECKING, Any

from ltbench.errors import UnknownName, UserError
from ltbench.results.published import published_score
from ltbench.results.record import Result
from ltbench.results.render import Table, render
from ltbench.results.standing import Standing, standing_notes, standings
from ltbench.results.store import counted

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 500  # whose predictions are read unasked
FEW_VALIDATION = 5  # images of a class
HEADLINE = ("macro_f1", "balanced_accuracy", "mcc", "accuracy")
CONDITIONS = ("dataset", "protocol", "weights", "split_scheme", "split_seed", "imbalance", "content", "tuning")
LOWER_IS_BETTER = ("ece", "nll", "brier", "fd", "kd", "nearest_ratio", "n_absent", "seconds")
NOT_PERCENT = ("nll", "brier", "fd", "kd", "n", "n_absent", "n_pool", "diversity")


def leaderboard(
    frame: pd.DataFrame,
    dataset: str | None = None,
    metric: str = "macro_f1",
    fmt: str = "table",
    published: bool = False,
    protocol: str | None = None,
    include_renamed: bool = False,
    statistics: bool | None = None,
) -> str:
    """One table per data set, protocol, weights, split and imbalance: mean ± sd (ddof 1) over seeds per method.

    Percent with two decimals; csv and json hold fractions. Cells whose method or protocol was renamed by an override
    are left out unless asked for. statistics: interval and ties of the metric, by default for up to 500 cells, whose
    predictions must be read. Raises UnknownName for a metric, data set, protocol or format that is not there.
    """
    found = tables(frame, dataset, metric, published, protocol, include_renamed, statistics)
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
) -> list[Table]:
    """The tables of `leaderboard` before they become text."""
    for column, value in (("dataset", dataset), ("protocol", protocol)):
        if value is not None and len(frame):
            _known(column, value, frame[column])
            frame = frame[frame[column] == value]
    if len(frame) == 0:
        return []
    _known("metric", metric, [name for name in frame.columns if frame[name].dtype.kind == "f"])
    if not include_renamed:
        frame = frame[frame["standard"].astype(bool)]
    statistics = len(frame) <= MOST_CELLS if statistics is None else statistics
    return [_table(group, metric, published, statistics) for group in comparable(frame)]


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


def _table(frame: pd.DataFrame, metric: str, published: bool, statistics: bool = False) -> Table:
    shown = HEADLINE if metric in HEADLINE else (metric, *HEADLINE)
    latest = newest(frame)
    records = [_aggregate(group, shown) for _, group in latest.groupby("method")]
    sign = 1 if _base(metric) in LOWER_IS_BETTER else -1
    records.sort(key=lambda r: (math.isnan(r[f"{metric}_mean"]), sign * r[f"{metric}_mean"], r["method"]))
    lower = _base(metric) in LOWER_IS_BETTER
    standing = standings(latest, metric, [r["method"] for r in records]) if statistics and not lower else {}
    header = ["method", *shown, "seeds", "seconds"]
    if standing:
        header[2:2], header[1:1] = ["95 %"], ["rank"]
    notes: list[str] = []
    rows = []
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
        rows.append(row)
    for text in standing_notes(standing, metric):
        _note(notes, text)
    if len(latest) < len(frame):
        _note(notes, f"left out: {counted(len(frame) - len(latest), 'older result')} of the same method and seed")
    header += ["published", "difference"] if published else []
    return Table(_title(records[0]), header, rows, records, notes)


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """The latest cell of each method and seed."""
    return frame.sort_values("finished", kind="stable").drop_duplicates(["method", "seed"], keep="last")


def _add_standing(record: dict[str, Any], row: list[str], standing: Standing, metric: str) -> None:
    record |= {f"{metric}_low": standing.low, f"{metric}_high": standing.high}
    record |= {"p_against_first": standing.p, "tied_with_first": standing.tied}
    bounds = [_number(metric, bound) for bound in (standing.low, standing.high)]
    row[2:2] = ["" if math.isnan(standing.low) else f"{' to '.join(bounds)}{'' if standing.seeds else ' °'}"]
    row[1:1] = [standing.rank]


def _aggregate(group: pd.DataFrame, shown: tuple[str, ...]) -> dict[str, Any]:
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
    tuning = f"tuned, {record['tuning']}" if record["tuning"] else "untuned defaults"
    return (
        f"{record['dataset']}, protocol {record['protocol']}, weights {record['weights'] or 'none'}, "
        f"split {record['split_scheme']} seed {record['split_seed']}{imbalance}, {tuning}, percent"
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


def _known(kind: str, name: str, known: Any) -> None:
    names = sorted({str(value) for value in known})
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        error = UnknownName if kind == "metric" else UserError
        raise error(f"no stored result has the {kind} {name!r}.{hint} There are: {', '.join(names[:12])}")
