"""The data of one cell: loaded, checked, split and cut."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.data.augment import eval_crop
from ltbench.data.cache import DataWarning
from ltbench.data.pools import gather_pool
from ltbench.data.splits import PARTS, crossing_groups
from ltbench.data.tables import digest
from ltbench.errors import ContractError, DataError
from ltbench.interfaces.dataset import Dataset, ImagePool, ImageTable, Splits
from ltbench.metrics.groups import class_groups

SHOT_GROUPS = 'give {"scheme":"rank","sizes":[2,4,2]}, {"scheme":"thresholds","many":100,"few":20} or {"few":[4,5]}'


@dataclass(frozen=True)
class Prepared:
    """What the engine trains on: train at the stored size, val and test centre-cropped to the image size.

    held_out: the validation images uncropped, as the training images are.
    train_counts: int64 (C,) after all cuts. splits: rows of the whole table before the cuts. content: hash of images,
    labels and ids (and of the parts, where a file names them). pool: gathers images without labels. shot_groups: the
    data set's own many, medium and few. idle_seed: the split's seed is not 0, and 0 would give the same data.
    """

    train: ImageTable
    val: ImageTable
    test: ImageTable
    held_out: ImageTable
    class_names: tuple[str, ...]
    train_counts: np.ndarray
    splits: Splits
    content: str
    warnings: tuple[str, ...]
    pool: Callable[[Sequence[str]], ImagePool]
    shot_groups: Any = None
    idle_seed: bool = False

    @property
    def parts(self) -> dict[str, ImageTable]:
        """The three tables by name."""
        return {part: getattr(self, part) for part in PARTS}

    def ids(self) -> dict[str, list[str]]:
        """The ids of each part, in order."""
        return {part: table.ids.tolist() for part, table in self.parts.items()}

    def facts(self) -> dict[str, Any]:
        """What the record of a cell says of its data."""
        parts, classes = self.parts, len(self.class_names)
        counts = {p: np.bincount(table.labels, minlength=classes).tolist() for p, table in parts.items()}
        return {
            "content": self.content,
            "sizes": {part: len(table) for part, table in parts.items()},
            "class_names": list(self.class_names),
            **{f"{part}_counts": numbers for part, numbers in counts.items()},
            "split": {"scheme": self.splits.scheme, "seed": self.splits.seed},
            "validation_is_test": self.splits.validation_is_test,
            "notes": list(self.splits.notes),
            **({} if self.shot_groups is None else {"shot_groups": self.shot_groups}),
        }


def prepare(
    dataset: Dataset,
    *,
    root: Path,
    stored_size: int,
    image_size: int,
    scheme: str,
    split_seed: int,
    imbalance: float | None = None,
    shuffle_labels: bool = False,
    max_train: int | None = None,
) -> Prepared:
    """Load, split and cut; DataError where labels, split or a class do not allow a benchmark."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        table = dataset.load(root, stored_size)
    remarks = [str(w.message) for w in caught if issubclass(w.category, DataWarning)]
    for other in (w for w in caught if not issubclass(w.category, DataWarning)):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    names = tuple(dataset.classes)
    check_table(table, names)
    splits = dataset.split(table, scheme, split_seed)
    check_splits(table, splits)
    rows = splits.train
    if imbalance is not None:
        rows, remark = cut_to_ratio(table.labels, rows, imbalance, len(names), split_seed)
        remarks += remark
    if max_train is not None and len(rows) > max_train:
        rows = stratified_subset(table.labels, rows, max_train, len(names), split_seed)
    uncut = len(rows) == len(splits.train) and not shuffle_labels
    counts = np.bincount(table.labels[rows], minlength=len(names)).astype(np.int64)
    for k in np.flatnonzero(counts == 0):
        raise DataError(
            f"class {names[k]} ({k}) has no training image under split {scheme!r}; "
            "use another protocol.split_seed or protocol.split, or drop the class from the labels"
        )
    train, held_out = table.take(rows), table.take(splits.val)
    if shuffle_labels:
        rng = np.random.default_rng((split_seed, 3))
        train, held_out = _shuffled(train, rng), _shuffled(held_out, rng)
        counts = np.bincount(train.labels, minlength=len(names)).astype(np.int64)
        remarks.append("labels of the training and validation parts are shuffled: a control, not a result")
    try:
        class_groups(counts, len(names), dataset.shot_groups)
    except ContractError as error:
        raise DataError(f"dataset.shot_groups does not fit: {error}; {SHOT_GROUPS}") from None
    parts = [splits.train, splits.val, splits.test] if scheme.startswith("file:") else []
    pixels = np.array([table.content]) if table.content else table.images
    return Prepared(
        train=train,
        val=_crop(held_out, image_size),
        test=_crop(table.take(splits.test), image_size),
        held_out=held_out,
        class_names=names,
        train_counts=counts,
        splits=splits,
        content=digest(pixels, table.labels, table.ids, *parts),
        warnings=(*remarks, *splits.notes),
        pool=partial(gather_pool, dataset=dataset, table=table, splits=splits, root=root, size=stored_size),
        shot_groups=dataset.shot_groups,
        idle_seed=bool(split_seed) and uncut and _alike(splits, dataset, table),
    )


def _alike(splits: Splits, dataset: Dataset, table: ImageTable) -> bool:
    """Whether seed 0 gives the same parts."""
    try:
        first = dataset.split(table, splits.scheme, 0)
    except DataError:
        return False
    return all(np.array_equal(getattr(splits, part), getattr(first, part)) for part in PARTS)


def check_table(table: ImageTable, names: tuple[str, ...]) -> None:
    """DataError for labels outside -1..C-1, repeated ids, a class without images."""
    if len(names) < 2:
        raise DataError(
            f"a data set needs at least 2 classes, got {len(names)}; add images of another class (a data set of your "
            "own: name it in Dataset.classes)"
        )
    odd = table.labels[(table.labels < -1) | (table.labels >= len(names))]
    if len(odd):
        raise DataError(
            f"{len(odd)} labels lie outside 0..{len(names) - 1}, first {odd[0]}; "
            "correct the labels, or give the classes that they need"
        )
    ids, times = np.unique(table.ids, return_counts=True)
    if len(ids) != len(table):
        raise DataError(f"image id {str(ids[times > 1][0])!r} occurs {times.max()} times; ids must be unique")
    for k in np.flatnonzero(np.bincount(table.labels[table.labels >= 0], minlength=len(names)) == 0):
        raise DataError(f"class {names[k]} ({k}) has no image at all; complete the data or drop the class")


def check_splits(table: ImageTable, splits: Splits) -> None:
    """DataError where parts share rows, or groups under a scheme that promises to keep them together."""
    part = np.full(len(table), -1)
    parts = [splits.train, splits.test] if splits.validation_is_test else [splits.train, splits.val, splits.test]
    for k, rows in enumerate(parts):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(table) or len(np.unique(rows)) != len(rows)):
            raise DataError(f"split {splits.scheme!r}: rows of part {k} repeat or lie outside 0..{len(table) - 1}")
        if (part[rows] >= 0).any():
            overlap = int((part[rows] >= 0).sum())
            raise DataError(
                f"split {splits.scheme!r}: {overlap} rows of {PARTS[k]} lie in another part too; fix the split"
            )
        part[rows] = k
    if splits.scheme == "stratified" and (crossing := crossing_groups(table.groups, part)):
        raise DataError(f"split {splits.scheme!r}: {crossing} groups lie in more than one part; fix Dataset.split")


def cut_to_ratio(
    labels: np.ndarray, rows: np.ndarray, ratio: float, num_classes: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Rows cut to the profile n_max * ratio^(-rank / (C-1)), ranks by training count; a larger ratio gives a subset."""
    if not ratio >= 1 or not np.isfinite(ratio):
        raise DataError(f"dataset.imbalance must be a number >= 1, got {ratio}")
    counts = np.bincount(labels[rows], minlength=num_classes)
    rank = np.empty(num_classes, dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(num_classes)
    wanted = np.floor(counts.max() * ratio ** (-rank / (num_classes - 1)) + 0.5).astype(np.int64)
    kept = np.minimum(counts, np.maximum(wanted, 1))
    remarks = []
    if (counts < wanted).any():
        have = kept.max() / max(kept.min(), 1)
        remarks.append(
            f"imbalance {ratio:g} asked, {have:.1f} reached: some classes have fewer images than the profile"
        )
    return _first_of_each(labels, rows, kept, seed), remarks


def stratified_subset(labels: np.ndarray, rows: np.ndarray, total: int, num_classes: int, seed: int) -> np.ndarray:
    """`total` rows in the proportions of the classes (largest remainder), at least one of each class."""
    counts = np.bincount(labels[rows], minlength=num_classes)
    if total < (counts > 0).sum():
        raise DataError(f"max_train {total} is less than the number of classes {(counts > 0).sum()}; raise it")
    exact = counts * (total / counts.sum())
    kept = np.minimum(np.maximum(np.floor(exact).astype(np.int64), 1), counts)
    for k in np.argsort(-(exact - kept), kind="stable")[: max(total - kept.sum(), 0)]:
        kept[k] += 1
    while kept.sum() > total:
        kept[np.argmax(kept)] -= 1
    return _first_of_each(labels, rows, kept, seed)


def _first_of_each(labels: np.ndarray, rows: np.ndarray, kept: np.ndarray, seed: int) -> np.ndarray:
    """The first kept[k] rows of a fixed random order of each class, sorted: smaller `kept` give subsets."""
    chosen = [
        np.random.default_rng((seed, 2, k)).permutation(np.sort(rows[labels[rows] == k]))[:n]
        for k, n in enumerate(kept)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _crop(table: ImageTable, size: int) -> ImageTable:
    images = eval_crop(table.images, size)
    return ImageTable(images, table.labels, table.ids, table.groups, table.aux, table.content)


def _shuffled(table: ImageTable, rng: np.random.Generator) -> ImageTable:
    labels = rng.permutation(table.labels)
    aux = {name: column for name, column in table.aux.items() if name != "label_name"}
    return ImageTable(table.images, labels, table.ids, table.groups, aux, table.content)
