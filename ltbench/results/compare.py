"""Two methods on the same images: paired differences with intervals, McNemar's test, recall per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.errors import UserError
from ltbench.metrics import bootstrap_difference, classification, mcnemar
from ltbench.results.record import Predictions, Result, read_result
from ltbench.results.render import Table, render
from ltbench.results.store import counted, load_results

if TYPE_CHECKING:
    import pandas as pd

SAME = ("content", "split_scheme", "split_seed", "imbalance", "weights")


@dataclass(frozen=True)
class Comparison:
    """Method b against a over paired seeds.

    differences: metric -> (b - a, low, high). mcnemar: per seed (only a right, only b right, p). recall_*: (C,) means.
    """

    dataset: str
    protocol: str
    a: str
    b: str
    seeds: tuple[int, ...]
    n_images: int
    class_names: tuple[str, ...]
    differences: dict[str, tuple[float, float, float]]
    mcnemar: list[tuple[int, int, float]]
    n_differ: list[int]
    recall_a: np.ndarray
    recall_b: np.ndarray


def compare(
    results: pd.DataFrame | Path | str,
    a: str,
    b: str,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    fmt: str = "table",
    resamples: int = 2000,
) -> str:
    """The text of `comparison`."""
    return render(_tables(comparison(results, a, b, dataset, protocol, resamples=resamples)), fmt)


def comparison(
    results: pd.DataFrame | Path | str,
    a: str,
    b: str,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    resamples: int = 2000,
) -> Comparison:
    """Compare by seed on the same test images; `results` is a folder or `load_results` of it.

    Raises UserError when the two share no data set, protocol, conditions, seed or test images.
    """
    frame = load_results(results) if isinstance(results, str | Path) else results
    dataset = _only("dataset", dataset, _rows(frame, method=a), _rows(frame, method=b), a, b)
    rows_a, rows_b = _rows(frame, method=a, dataset=dataset), _rows(frame, method=b, dataset=dataset)
    protocol = _only("protocol", protocol, rows_a, rows_b, a, b)
    rows_a, rows_b = _rows(rows_a, protocol=protocol), _rows(rows_b, protocol=protocol)
    pairs = _pairs(rows_a, rows_b, a, b)
    truth, left, right, tests = [], [], [], []
    recalls = np.zeros((2, len(pairs), pairs[0][0].predictions.probs.shape[1]))
    for index, (one, two) in enumerate(pairs):
        first, second = _aligned(one, two)
        truth.append(first.y_true)
        left.append(first.probs.argmax(axis=1))
        right.append(second.probs.argmax(axis=1))
        tests.append(mcnemar(truth[-1], left[-1], right[-1]))
        recalls[0, index] = classification(first.y_true, first.probs)["per_class_recall"]
        recalls[1, index] = classification(second.y_true, second.probs)["per_class_recall"]
    classes = recalls.shape[2]
    names = tuple(pairs[0][0].data["data"].get("class_names") or map(str, range(classes)))
    return Comparison(
        dataset=dataset,
        protocol=protocol,
        a=a,
        b=b,
        seeds=tuple(one.cell["seed"] for one, _ in pairs),
        n_images=len(truth[0]),
        class_names=names,
        differences=bootstrap_difference(truth, left, right, classes, resamples=resamples),
        mcnemar=tests,
        n_differ=[int((x != y).sum()) for x, y in zip(left, right, strict=True)],
        recall_a=recalls[0].mean(axis=0),
        recall_b=recalls[1].mean(axis=0),
    )


def _rows(frame: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def _only(kind: str, asked: str | None, one: pd.DataFrame, two: pd.DataFrame, a: str, b: str) -> str:
    """The data set or protocol that both have, or the one asked for."""
    for name, rows in ((a, one), (b, two)):
        if len(rows) == 0:
            raise UserError(f"no stored result of method {name!r} here; run it first, or see: ltbench leaderboard")
    has_a, has_b = sorted(set(one[kind])), sorted(set(two[kind]))
    shared = sorted(set(has_a) & set(has_b))
    if asked is not None and asked not in shared:
        raise UserError(f"{a} and {b} have no common results under {kind} {asked!r}; they share {shared or 'none'}")
    if not shared:
        raise UserError(f"{a} was run with {kind} {', '.join(has_a)} and {b} with {', '.join(has_b)}: not comparable")
    if asked is None and len(shared) > 1:
        raise UserError(f"{a} and {b} share the {kind}s {', '.join(shared)}; choose one with --{kind}")
    return asked or shared[0]


def _pairs(rows_a: pd.DataFrame, rows_b: pd.DataFrame, a: str, b: str) -> list[tuple[Result, Result]]:
    """Results of both at each shared seed, the newest of each; the conditions must be equal."""
    pairs = []
    for seed in sorted(set(rows_a["seed"]) & set(rows_b["seed"])):
        one, two = (_rows(rows, seed=seed).sort_values("finished").iloc[-1] for rows in (rows_a, rows_b))
        for name in SAME:
            if str(one[name]) != str(two[name]):
                raise UserError(f"{a} and {b} differ in {name} at seed {seed}: {one[name]} and {two[name]}; rerun one")
        pairs.append((read_result(one["folder"]), read_result(two["folder"])))
    if not pairs:
        raise UserError(
            f"{a} has seeds {sorted(set(rows_a['seed']))} and {b} has {sorted(set(rows_b['seed']))}: none in common"
        )
    return pairs


def _aligned(one: Result, two: Result) -> tuple[Predictions, Predictions]:
    """Both predictions in one order of the test images."""
    first, second = one.predictions, two.predictions
    orders = np.argsort(first.ids), np.argsort(second.ids)
    if not np.array_equal(first.ids[orders[0]], second.ids[orders[1]]):
        raise UserError(f"{one.folder} and {two.folder} were tested on different images: not comparable")
    sides = [
        Predictions(p.ids[o], p.y_true[o], p.probs[o], p.val_ids, p.val_y_true, p.val_probs)
        for p, o in zip((first, second), orders, strict=True)
    ]
    if not np.array_equal(sides[0].y_true, sides[1].y_true):
        raise UserError(f"{one.folder} and {two.folder} have different labels for the same images: not comparable")
    return sides[0], sides[1]


def _tables(c: Comparison) -> list[Table]:
    seeds = ", ".join(map(str, c.seeds))
    title = (
        f"{c.b} minus {c.a} on {c.dataset}, protocol {c.protocol}, seed{'s' if len(c.seeds) > 1 else ''} {seeds}, "
        f"{counted(c.n_images, 'test image')}, percent"
    )
    rows = [[key, *(f"{100 * value:+.2f}" for value in values)] for key, values in c.differences.items()]
    records = [{"metric": k, "difference": v[0], "low": v[1], "high": v[2]} for k, v in c.differences.items()]
    notes = [
        f"seed {seed}: answers differ on {differ} of {c.n_images} images; only {c.a} right {test[0]}, only {c.b} right "
        f"{test[1]}, McNemar exact p = {test[2]:.3g}"
        for seed, differ, test in zip(c.seeds, c.n_differ, c.mcnemar, strict=True)
    ]
    notes.append("interval: 95 % paired bootstrap over test images; it does not include the spread between seeds")
    recall = list(zip(c.class_names, c.recall_a.tolist(), c.recall_b.tolist(), strict=True))
    return [
        Table(title, ["metric", "difference", "low", "high"], rows, records, notes),
        Table(
            "recall per class, percent",
            ["class", c.a, c.b, "difference"],
            [[name, f"{100 * x:.2f}", f"{100 * y:.2f}", f"{100 * (y - x):+.2f}"] for name, x, y in recall],
            [{"class": name, c.a: x, c.b: y} for name, x, y in recall],
        ),
    ]
