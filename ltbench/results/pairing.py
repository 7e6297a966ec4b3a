"""Which cells of two methods may be compared: same data set, protocol, conditions, split, seed and test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ltbench.errors import UserError
from ltbench.results.record import Predictions, Result, read_result
from ltbench.results.rows import age, grouped, word
from ltbench.results.store import counted

COMMON = ("content", "split_scheme", "imbalance", "weights", "tuning")  # what all pairs of a comparison share
DEFAULT = "default"  # the word for a condition that was not set
NAMED = 3  # image ids in an error
HASH = 64  # digits

Rows = Sequence[Mapping[str, Any]]


class Pair(NamedTuple):
    """Two results of one split and seed."""

    split_seed: int
    seed: int
    a: Result
    b: Result


def shared(kind: str, asked: str | None, one: Rows, two: Rows, a: str, b: str) -> str:
    """The data set or protocol that both have, or the one asked for."""
    for name, rows in ((a, one), (b, two)):
        if not rows:
            raise UserError(f"no stored result of method {name!r} here; run it first, or see: ltbench leaderboard")
    has_a, has_b = (sorted({row[kind] for row in rows}) for rows in (one, two))
    shared = sorted(set(has_a) & set(has_b))
    if asked is not None and asked not in shared:
        raise UserError(f"{a} and {b} have no common results under {kind} {asked!r}; they share {shared or 'none'}")
    if not shared:
        raise UserError(f"{a} was run with {kind} {', '.join(has_a)} and {b} with {', '.join(has_b)}: not comparable")
    if asked is None and len(shared) > 1:
        raise UserError(f"{a} and {b} share the {kind}s {', '.join(shared)}; choose one with --{kind}")
    return asked or shared[0]


def pairs_of(rows_a: Rows, rows_b: Rows, a: str, b: str, chosen: Mapping[str, str | None]) -> list[tuple[Any, Any]]:
    """Rows of both at each shared split and seed, the newest of each, under the conditions that both have.

    chosen: condition -> its value in words, "default" where it was not set, None for any. Raises UserError where the
    two share no conditions, several, or no split and seed.
    """
    groups_a, groups_b = (_by_conditions(rows, chosen) for rows in (rows_a, rows_b))
    common = [key for key in groups_a if key in groups_b]
    if not common:
        _other_images(groups_a, groups_b)
        raise UserError(_different(list(groups_a), list(groups_b), a, b, chosen))
    found = {key: _by_seed(groups_a[key], groups_b[key]) for key in common}
    usable = [key for key in common if found[key]]
    if not usable:
        sides = (sorted({(row["split_seed"], row["seed"]) for row in rows}) for rows in (rows_a, rows_b))
        has_a, has_b = (", ".join(f"{seed} (split {split})" for split, seed in pairs) for pairs in sides)
        raise UserError(f"{a} has seeds {has_a} and {b} has {has_b}: none in common")
    if len(usable) > 1:
        names = [name for i, name in enumerate(COMMON) if len({key[i] for key in usable}) > 1]
        listed = "; ".join(", ".join(f"{name} {_said(key[COMMON.index(name)])}" for name in names) for key in usable)
        ways = ", ".join(f"--{name} VALUE" for name in names if name in chosen) or "another --out"
        raise UserError(f"{a} and {b} share several conditions ({listed}); choose one with {ways}")
    return found[usable[0]]


def _by_conditions(rows: Rows, chosen: Mapping[str, str | None]) -> dict[tuple[str, ...], Rows]:
    kept = [row for row in rows if all(v is None or _said(word(row.get(k))) == v for k, v in chosen.items())]
    return dict(grouped(kept, lambda row: tuple(word(row.get(name)) for name in COMMON)))


def _by_seed(rows_a: Rows, rows_b: Rows) -> list[tuple[Any, Any]]:
    def newest(rows: Rows) -> dict[Any, Any]:
        by = grouped(rows, lambda row: (row["split_seed"], row["seed"]))
        return {key: max(cells, key=age) for key, cells in by.items()}

    one, two = newest(rows_a), newest(rows_b)
    return [(one[key], two[key]) for key in sorted(set(one) & set(two))]


def _different(
    has_a: list[tuple[str, ...]], has_b: list[tuple[str, ...]], a: str, b: str, chosen: Mapping[str, str | None]
) -> str:
    asked = ", ".join(f"{name} {value}" for name, value in chosen.items() if value is not None)
    for name, has in ((a, has_a), (b, has_b)):
        if not has:
            return f"no stored result of {name} has {asked}; leave the choice out to see what there is"
    told = []
    for i, name in enumerate(COMMON):
        values_a, values_b = (sorted({_said(key[i]) for key in has}) for has in (has_a, has_b))
        if values_a != values_b:
            told.append(f"{name} ({', '.join(values_a)} and {', '.join(values_b)})")
    return f"{a} and {b} differ in {', '.join(told)}: not comparable; run one of them as the other was"


def _other_images(groups_a: Mapping[tuple[str, ...], Rows], groups_b: Mapping[tuple[str, ...], Rows]) -> None:
    """UserError naming the test images that differ, where the data alone sets two groups of cells apart."""
    content = COMMON.index("content")
    for one, two in product(groups_a, groups_b):
        if [*one[:content], *one[content + 1 :]] == [*two[:content], *two[content + 1 :]]:
            for first, second in _by_seed(groups_a[one], groups_b[two])[:1]:
                aligned(read_result(first["folder"]), read_result(second["folder"]))


def _said(value: str) -> str:
    return (value[:8] if len(value) == HASH else value) or DEFAULT


def read_pairs(pairs: Sequence[tuple[Any, Any]]) -> list[Pair]:
    """The results of these rows."""
    return [Pair(x["split_seed"], x["seed"], read_result(x["folder"]), read_result(y["folder"])) for x, y in pairs]


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
