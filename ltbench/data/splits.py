"""Train, validation and test rows of a table, seeded and group-aware."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from ltbench.errors import DataError, UnknownName
from ltbench.interfaces.dataset import ImageTable, Splits

PARTS = ("train", "val", "test")
ALIASES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
FEW = 5  # a class with fewer validation images makes selection noisy
SCHEMES = (
    "stratified",
    "stratified-ungrouped",
    "80-20-released",
    "official",
    "column:NAME",
    "released:NAME",
    "file:PATH",
)


def make_splits(table: ImageTable, scheme: str = "stratified", seed: int = 0) -> Splits:
    """The split of `table` under one of SCHEMES; unlabelled rows (-1) belong to no part.

    DataError: a class without training image, a split column or file that does not fit the table.
    """
    notes: list[str] = []
    leak = False
    if scheme == "stratified":
        part = _stratified(table.labels, table.groups, seed)
    elif scheme == "stratified-ungrouped":
        part = _stratified(table.labels, table.ids, seed)
    elif scheme == "80-20-released":
        part = _released(table, seed)
        leak = True
    elif scheme.startswith("released:"):
        part = _parts(table, _column(table, scheme[9:]))
        leak = True
    elif scheme == "official" or scheme.startswith("column:"):
        part = _published(table, _column(table, "split" if scheme == "official" else scheme[7:]), seed, notes)
    elif scheme.startswith("file:"):
        part = _published(table, _from_file(table, Path(scheme[5:]).expanduser()), seed, notes)
    else:
        raise UnknownName(f"unknown split scheme {scheme!r}; one of: {', '.join(SCHEMES)}")
    train, val, test = (np.flatnonzero(part == k).astype(np.int64) for k in range(3))
    if leak:
        train, val = np.sort(np.concatenate([train, val])), test.copy()
        notes.append("validation is the test part, as in the released code: selection sees the test labels")
    _check(table, train, val, test, scheme)
    notes += _remarks(table, part, val, scheme)
    return Splits(train, val, test, scheme=scheme, seed=seed, validation_is_test=leak, notes=tuple(notes))


def allocate(labels: np.ndarray, groups: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Part (n,) of each row so that part p holds about targets[p, c] rows of class c and no group is cut.

    Groups of several rows go first, each to a part drawn by the room left there; single rows then fill the parts to
    the target, so sizes are exact unless groups make that impossible. targets (P, C) sum to the class counts.
    """
    room = targets.astype(np.int64).copy()
    part = np.full(len(labels), -1, dtype=np.int64)
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(sizes)[:-1])
    several = rng.permutation(np.flatnonzero(sizes > 1))
    for g in several[np.argsort(-sizes[several], kind="stable")]:
        counts = np.bincount(labels[members[g]], minlength=room.shape[1])
        present = counts > 0
        left = (room - counts)[:, present].min(axis=1)
        weight = np.where(left >= 0, room[:, present].min(axis=1), 0).clip(min=0)
        chosen = rng.choice(len(room), p=weight / weight.sum()) if weight.sum() else int(np.argmax(left))
        part[members[g]] = chosen
        room[chosen] -= counts
    for c in range(room.shape[1]):
        rows = rng.permutation(np.flatnonzero((labels == c) & (part < 0)))
        fill = np.repeat(np.arange(len(room)), room[:, c].clip(min=0))
        part[rows] = fill[: len(rows)]
    return part


def _stratified(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """70/10/rest per class, train and validation rounded half up."""
    known = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[known])
    train, val = (7 * counts + 5) // 10, (counts + 5) // 10
    part = np.full(len(labels), -1, dtype=np.int64)
    targets = np.stack([train, val, counts - train - val])
    part[known] = allocate(labels[known], groups[known], targets, np.random.default_rng(seed))
    return part


def _released(table: ImageTable, seed: int) -> np.ndarray:
    """80/20 per class, test = floor(0.2 n), groups ignored."""
    known = np.flatnonzero(table.labels >= 0)
    counts = np.bincount(table.labels[known])
    targets = np.stack([counts - counts // 5, np.zeros_like(counts), counts // 5])
    part = np.full(len(table), -1, dtype=np.int64)
    part[known] = allocate(table.labels[known], table.ids[known], targets, np.random.default_rng(seed))
    return part


def _column(table: ImageTable, name: str) -> np.ndarray:
    if name not in table.aux:
        have = ", ".join(sorted(table.aux)) or "none"
        raise DataError(
            f"no column {name!r} to split by; columns here: {have}; another split: protocol.split=stratified"
        )
    return table.aux[name]


def _from_file(table: ImageTable, path: Path) -> np.ndarray:
    """Part names (n,) from a CSV with the columns id and split."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except OSError as error:
        raise DataError(f"cannot read the split file {path}: {error.strerror}; check split=file:PATH") from error
    if not lines or not {"id", "split"} <= set(lines[0]):
        have = ", ".join(lines[0]) if lines else "nothing"
        raise DataError(f"split file {path} needs the columns id and split, found {have}")
    ids = [line["id"] for line in lines]
    known = set(table.ids.tolist())
    repeated = sorted(i for i, times in Counter(ids).items() if times > 1)
    for what, odd in (
        ("unknown ids", sorted(set(ids) - known)),
        ("no line for ids", sorted(known - set(ids))),
        ("repeated ids", repeated),
    ):
        if odd:
            raise DataError(f"split file {path}: {what}: {len(odd)}, first {odd[0]!r}; it must name each image once")
    split = {line["id"]: line["split"] for line in lines}
    return np.array([split[i] for i in table.ids.tolist()])


def _published(table: ImageTable, names: np.ndarray, seed: int, notes: list[str]) -> np.ndarray:
    """Parts from their names; where none is validation, 10 % of each class of train becomes it."""
    part = _parts(table, names)
    train = np.flatnonzero(part == 0)
    if not (part == 1).any() and len(train):
        labels = table.labels[train]
        counts = np.bincount(labels)
        val = (counts + 5) // 10
        targets = np.stack([counts - val, val])
        part[train] = allocate(labels, table.groups[train], targets, np.random.default_rng(seed))
        notes.append("the published split has no validation part: 10 % of its training part is used")
    return part


def _parts(table: ImageTable, names: np.ndarray) -> np.ndarray:
    """0, 1 or 2 for train, val or test by name, int64 (n,); -1 without a label."""
    plain = np.array([ALIASES.get(str(name).strip().lower(), str(name).strip().lower()) for name in names])
    odd = sorted(set(plain[table.labels >= 0].tolist()) - set(PARTS))
    if odd:
        raise DataError(f"split value {odd[0]!r} is not one of train, val, test; correct the split column")
    part = np.array([PARTS.index(name) if name in PARTS else -1 for name in plain], dtype=np.int64)
    part[table.labels < 0] = -1
    return part


def _check(table: ImageTable, train: np.ndarray, val: np.ndarray, test: np.ndarray, scheme: str) -> None:
    for name, rows in (("training", train), ("validation", val), ("test", test)):
        if not len(rows):
            raise DataError(f"split {scheme!r} leaves the {name} part empty; use another split or more images")
    for k in np.flatnonzero(np.bincount(table.labels[table.labels >= 0])):
        if not (table.labels[train] == k).any():
            raise DataError(
                f"class {class_name(table, int(k))} has no training image under split {scheme!r}; "
                "use another protocol.split_seed or protocol.split, or drop the class"
            )


def _remarks(table: ImageTable, part: np.ndarray, val: np.ndarray, scheme: str) -> list[str]:
    remarks = []
    counts = np.bincount(table.labels[val], minlength=int(table.labels.max()) + 1)
    few = [f"{class_name(table, k)} {n}" for k, n in enumerate(counts) if n < FEW and (table.labels == k).any()]
    if few:
        remarks.append(f"fewer than {FEW} validation images: {', '.join(few)}")
    crossing = crossing_groups(table.groups, part)
    if crossing:
        remarks.append(f"{crossing} groups of related images lie in more than one part of split {scheme!r}")
    return remarks


def crossing_groups(groups: np.ndarray, part: np.ndarray) -> int:
    """How many groups have rows in more than one part; rows of part -1 do not count."""
    used = part >= 0
    pairs = {(str(group), int(p)) for group, p in zip(groups[used], part[used], strict=True)}
    parts_of = Counter(group for group, _ in pairs)
    return sum(n > 1 for n in parts_of.values())


def class_name(table: ImageTable, k: int) -> str:
    """The name of class k from the column label_name, beside its number."""
    rows = np.flatnonzero(table.labels == k)
    return f"{table.aux['label_name'][rows[0]]} ({k})" if "label_name" in table.aux and len(rows) else str(k)
