"""Which cells of two methods may be compared: same data set, protocol, conditions, seed and test images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.errors import UserError
from ltbench.results.record import Predictions, Result, read_result
from ltbench.results.rows import age, as_rows
from ltbench.results.store import counted

if TYPE_CHECKING:
    import pandas as pd

SAME = ("content", "split_scheme", "split_seed", "imbalance", "weights", "tuning")
NAMED = 3  # image ids in an error


def rows_of(frame: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows with these values."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def shared(kind: str, asked: str | None, one: pd.DataFrame, two: pd.DataFrame, a: str, b: str) -> str:
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


def pairs_of(rows_a: pd.DataFrame, rows_b: pd.DataFrame, a: str, b: str) -> list[tuple[Result, Result]]:
    """Results of both at each shared seed, the newest of each; the conditions must be equal."""
    pairs = []
    for seed in sorted(set(rows_a["seed"]) & set(rows_b["seed"])):
        one, two = (max(as_rows(rows_of(rows, seed=seed)), key=age) for rows in (rows_a, rows_b))
        for name in SAME:
            if str(one[name]) != str(two[name]):
                raise UserError(f"{a} and {b} differ in {name} at seed {seed}: {one[name]} and {two[name]}; rerun one")
        pairs.append((read_result(one["folder"]), read_result(two["folder"])))
    if not pairs:
        raise UserError(
            f"{a} has seeds {sorted(set(rows_a['seed']))} and {b} has {sorted(set(rows_b['seed']))}: none in common"
        )
    return pairs


def aligned(one: Result, two: Result) -> tuple[Predictions, Predictions]:
    """Both predictions in one order of the test images."""
    first, second = one.predictions, two.predictions
    orders = np.argsort(first.ids), np.argsort(second.ids)
    if not np.array_equal(first.ids[orders[0]], second.ids[orders[1]]):
        raise UserError(
            f"{one.folder} and {two.folder} were tested on different images: not comparable; "
            f"{_named(first.ids, second.ids)} only in the first, {_named(second.ids, first.ids)} only in the second"
        )
    sides = [
        Predictions(p.ids[o], p.y_true[o], p.probs[o], p.val_ids, p.val_y_true, p.val_probs)
        for p, o in zip((first, second), orders, strict=True)
    ]
    if not np.array_equal(sides[0].y_true, sides[1].y_true):
        wrong = sides[0].ids[sides[0].y_true != sides[1].y_true]
        raise UserError(f"{one.folder} and {two.folder} have different labels for {_named(wrong)}: not comparable")
    return sides[0], sides[1]


def _named(ids: np.ndarray, others: np.ndarray | tuple[str, ...] = ()) -> str:
    """ "3 images (a, b, ...)": those that are not among the others."""
    left = sorted(set(ids.tolist()) - set(np.asarray(others).tolist()))
    listed = ", ".join(left[:NAMED]) + (", ..." if len(left) > NAMED else "")
    return counted(len(left), "image") + (f" ({listed})" if left else "")
