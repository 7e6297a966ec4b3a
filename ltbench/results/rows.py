"""Rows of finished cells as plain dicts: which may stand in one table, which is the newest, which are asked for."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ltbench.errors import UnknownName, UserError

if TYPE_CHECKING:
    import pandas as pd

    Rows = pd.DataFrame | Sequence[Mapping[str, Any]]

T = TypeVar("T")
CONDITIONS = ("dataset", "protocol", "weights", "split_scheme", "split_seed", "imbalance", "content", "tuning")
FACTS = (
    *("method", "seed", "hash", "versions", "finished", "seconds", "train_ratio", "smallest_val_class"),
    *("external", "assumed", "standard", "validation_is_test", "owns"),
)


def as_rows(results: Rows) -> Sequence[Mapping[str, Any]]:
    """The rows of `load_results`, or those of `load_rows` as they are."""
    return results if isinstance(results, Sequence) else results.to_dict("records")  # type: ignore[return-value]


def conditions(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What must be equal for two cells to stand in one table, in words."""
    return tuple(word(row.get(name)) for name in CONDITIONS)


def comparable(rows: Iterable[Mapping[str, Any]], splits: bool = False) -> list[list[Mapping[str, Any]]]:
    """The cells of each table: those of one data set, protocol, weights, split and imbalance.

    splits: cells whose splits differ by their seed alone stand in one table.
    """
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    names = [name for name in CONDITIONS if not (splits and name == "split_seed")]
    for values, cells in grouped(rows, lambda row: tuple(map(row.get, names))).items():
        found.setdefault(tuple(map(word, values)), []).extend(cells)
    return [found[key] for key in sorted(found)]


def grouped(rows: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    """Rows by `key(row)`, in the order in which the keys come."""
    found: dict[Any, list[T]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def age(row: Mapping[str, Any]) -> tuple[float, str, str]:
    """Larger for the newer of two cells with the names of one: the higher versions of its components decide.

    Clocks of two machines may disagree, so the time at which a cell finished counts between equal versions alone, and
    the hash where even that is the same.
    """
    return float(row.get("versions") or 0), str(row.get("finished") or ""), str(row.get("hash") or "")


def newest(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest cell of each method, split seed and seed, in this order."""
    found = grouped(rows, lambda row: (row["method"], row.get("split_seed") or 0, row["seed"]))
    return [max(found[key], key=age) if len(found[key]) > 1 else found[key][0] for key in sorted(found)]


def chosen_methods(results: Rows, methods: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows of these methods; UserError for one that has none."""
    rows = as_rows(results)
    there = {row["method"] for row in rows}
    absent = sorted(set(methods) - there)
    if absent:
        raise UserError(f"no stored result of method {absent[0]!r}; there are: {', '.join(sorted(there))}")
    return [row for row in rows if row["method"] in methods]


def selected(
    results: Rows,
    dataset: str | None = None,
    protocol: str | None = None,
    metric: str | None = None,
    include_renamed: bool = False,
) -> list[Mapping[str, Any]]:
    """The rows of a data set and a protocol, without those that an override renamed unless asked for.

    Raises UserError for a data set or protocol that no cell has, UnknownName for such a metric.
    """
    rows = list(as_rows(results))
    for column, value in (("dataset", dataset), ("protocol", protocol)):
        if value is not None and rows:
            known(column, value, (row[column] for row in rows))
            rows = [row for row in rows if row[column] == value]
    if metric is not None:
        measured(rows, metric)
    return rows if include_renamed else [row for row in rows if row["standard"]]


def measured(rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    """UnknownName for a metric that none of these rows has."""
    if rows and not any(isinstance(row.get(metric), float) for row in rows):
        known("metric", metric, {name for row in rows for name, value in row.items() if isinstance(value, float)})


def numbers(cells: Iterable[Mapping[str, Any]], column: str) -> list[float]:
    """A column of these rows, nan where a row lacks it."""
    return [math.nan if cell.get(column) is None else float(cell[column]) for cell in cells]


def deviation(values: Sequence[float]) -> float:
    """Standard deviation with ddof 1, nan for one value and where one is not finite.

    Ten times faster than the exact fractions of `statistics`.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.sqrt(sum([(value - mean) * (value - mean) for value in values]) / (len(values) - 1))


def known(kind: str, name: str, names: Iterable[Any]) -> None:
    """UnknownName for a metric, UserError for a data set or protocol that is not among `names`."""
    there = sorted({str(value) for value in names})
    if name not in there:
        close = difflib.get_close_matches(name, there, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        error = UnknownName if kind == "metric" else UserError
        raise error(f"no stored result has the {kind} {name!r}.{hint} There are: {_listed(there)}")


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def word(value: Any) -> str:
    """A condition's value as text, "" where it was not set."""
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
