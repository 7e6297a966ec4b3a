"""The tail card: every class with its interval, groups of classes, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.metrics import jeffreys
from ltbench.results.render import Table
from ltbench.results.rows import grouped
from ltbench.results.store import usable
from ltbench.results.tables import aggregate
from ltbench.results.words import marked, note, table_title

if TYPE_CHECKING:
    from ltbench.results.record import Result

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
