"""Where each method of a table stands: its interval over images and seeds, and whether the first is really ahead."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ltbench.errors import CheckpointError
from ltbench.metrics import bootstrap_p, class_groups, hierarchical_draws, interval
from ltbench.metrics.classification import from_confusion
from ltbench.metrics.groups import NAMES
from ltbench.metrics.resampling import OF_PROBS, resampled_confusions, weight_blocks
from ltbench.results.record import read_result
from ltbench.results.rows import grouped
from ltbench.results.store import counted

LEVEL = 0.05
RESAMPLES = 1000
RESAMPLES_EACH = 50
FEW = 15  # images of a test class: 8 are too few (benchmarks/interval_coverage.py)
OVERLAP = (
    "splits of one data set share images, training and test: other images would spread more than these splits do among "
    "themselves"
)
TWO = (
    "two seeds, or two splits, are one difference: its interval is mostly far too wide, and now and then too narrow; "
    "rows with more say more"
)
TIED, UNKNOWN, ALONE = "1=", "?", " °"
BOUNDS = {"mcc": (-1.0, 1.0), "quadratic_kappa": (-1.0, 1.0), "nll": (0.0, np.inf), "brier": (0.0, 2.0)}
COUNTED = frozenset(key for key in from_confusion(np.eye(2)) if not key.startswith("per_class"))
GROUPS = tuple(f"{name}_accuracy" for name in NAMES)


@dataclass(frozen=True)
class Standing:
    """95 % interval (low, high); runs: how many it holds; p: paired against the first, corrected.

    smallest: images of the smallest test class, 0 where no predictions were read. parts: how many test parts.
    rank: "1=" where the method may be the best, "?" where nothing could be paired, "" where the metric is undefined;
    " °" behind it where it is paired on one seed. The first is the first whose predictions can be read.
    """

    rank: str
    low: float
    high: float
    runs: int
    p: float
    smallest: int
    parts: int = 1

    @property
    def tied(self) -> bool:
        """Not separated from the first."""
        return self.rank == TIED


Run = tuple[int, int]  # split seed, seed


class _Part(NamedTuple):
    """Runs on one test part: runs (k,), values (k,), draws (k, R) over the same resampled images as other methods'."""

    runs: tuple[Run, ...]
    values: np.ndarray
    draws: np.ndarray
    smallest: int

    def joined(self, other: _Part) -> _Part:
        """With the runs of another split on the same test images."""
        values, draws = np.concatenate([self.values, other.values]), np.concatenate([self.draws, other.draws])
        return _Part((*self.runs, *other.runs), values, draws, self.smallest)


@dataclass(frozen=True)
class _Runs:
    """The runs of a method by test part: splits of the same test images are one sample of images, not several."""

    parts: Mapping[int, _Part]

    @property
    def cells(self) -> set[Run]:
        """Split seed and seed of every run."""
        return {run for part in self.parts.values() for run in part.runs}

    @property
    def splits(self) -> set[int]:
        """The split seeds of its runs."""
        return {split for split, _ in self.cells}

    @property
    def smallest(self) -> int:
        """Images of the smallest test class of any split."""
        return min(part.smallest for part in self.parts.values())

    def draws(self, rng: np.random.Generator) -> np.ndarray:
        """Draws of the mean, as it might have come out on other images, seeds and splits."""
        parts = self.parts.values()
        return hierarchical_draws([part.values for part in parts], [part.draws for part in parts], rng)


def standings(latest: Sequence[Mapping[str, Any]], metric: str, methods: Sequence[str]) -> dict[str, Standing]:
    """Standing of each method, best first as given; {} for a metric that cannot be resampled by its images.

    These are all but ECE (biased upwards by resampling), measures of synthetic images and a plugin's own.

    Each p is multiplied by the number of methods but one, so that the rows "1=" hold the truly best method with 95 %
    though the first row was chosen by its result (multiple comparisons with the best, Hsu 1984, by Bonferroni).
    latest: one row per method, split seed and seed. Methods are paired by both on the same images, with the first that
    has all splits. A method whose predictions cannot be read, or are of other images, has no interval.
    """
    if metric not in COUNTED and metric not in OF_PROBS and metric not in GROUPS:
        return {}
    resamples = max(RESAMPLES, RESAMPLES_EACH * len(methods))  # one seed's p is at least 2 / resamples
    runs = _read(latest, metric, methods, resamples)
    rng, most = (
        np.random.default_rng(0),
        max((len(found.splits) for found in runs.values() if _defined(found)), default=0),
    )
    best = next((m for m in methods if m in runs and _defined(runs[m]) and len(runs[m].splits) == most), "")
    found, p_values = {}, []
    for index, method in enumerate(methods):
        mine = runs.get(method)
        if mine and not _defined(mine):
            found[method] = Standing(
                "", float("nan"), float("nan"), False, float("nan"), mine.smallest, len(mine.parts)
            )
            p_values.append(float("nan"))
            continue
        low, high = interval(mine.draws(rng)) if mine else (float("nan"), float("nan"))
        low, high = np.clip((low, high), *BOUNDS.get(metric, (0.0, 1.0))).tolist()  # a t interval of two seeds is wide
        count, smallest, parts = (len(mine.cells), mine.smallest, len(mine.parts)) if mine else (0, 0, 1)
        found[method] = Standing(str(index + 1), low, high, count, float("nan"), smallest, parts)
        p_values.append(_paired_p(runs[best], mine, rng) if mine and method != best else float("nan"))
    corrected = np.minimum(1.0, np.array(p_values) * (len(methods) - 1)).tolist()
    for method, p in zip(methods, corrected, strict=True):
        if method == best or not found[method].rank:
            continue
        rank = UNKNOWN if np.isnan(p) else TIED if p >= LEVEL else found[method].rank + _alone(runs[best], runs[method])
        found[method] = replace(found[method], rank=rank, p=p)
    if any(standing.tied for standing in found.values()):
        found[best] = replace(found[best], rank=TIED)
    return found


def standing_notes(found: Mapping[str, Standing], metric: str) -> list[str]:
    """What the columns rank and 95 % mean."""
    if not found:
        return []
    splits = any(standing.parts > 1 for standing in found.values())
    over = "images, seeds and splits" if splits else "images and seeds"
    notes = [
        f"95 %: of {metric} over test {over}; 1=: may be the best, not separated from the first row by the "
        f"paired test over {over}, 5 % for all rows together; other ranks are places, and neighbours may be ties",
        *([OVERLAP] if splits else []),
    ]
    if any(standing.rank == UNKNOWN for standing in found.values()):
        notes.append(
            "?: has no seed, no readable predictions of the same images, or other splits: not paired with the first row"
        )
    if any(standing.rank == "" for standing in found.values()):
        notes.append("n/a: the metric is undefined there, for example for a group in which the data set has no class")
    few = {standing.parts if standing.parts > 1 else standing.runs for standing in found.values() if standing.runs > 1}
    if 2 in few:
        notes.append(TWO)
    notes += few_images(min((standing.smallest for standing in found.values() if standing.smallest), default=0))
    if any(standing.low == standing.high for standing in found.values()):
        notes.append("an interval without width: no resampled image changes the metric; other images still could")
    if any(ALONE in standing.rank or not (standing.runs > 1 or np.isnan(standing.low)) for standing in found.values()):
        notes.append("° one seed, or one in common with the first row: images alone, what other seeds give is unknown")
    return notes


def few_images(least: int) -> list[str]:
    """A note where the smallest test class has too few images for what is said with 95 %; 0: it is not known."""
    if not 0 < least < FEW:
        return []
    return [f"the smallest test class has {counted(least, 'image')}: 95 % intervals are too narrow, p too small"]


def _read(latest: Sequence[Mapping[str, Any]], metric: str, methods: Sequence[str], resamples: int) -> dict[str, _Runs]:
    """The runs of every method that can be read on the images of the first, on all its splits."""
    parts: dict[str, dict[int, _Part]] = defaultdict(dict)
    seen: dict[bytes, int] = {}  # the same test images get the same weights, others get others
    for split, rows in sorted(grouped(latest, lambda row: row.get("split_seed") or 0).items()):
        images, found = _split(split, rows, metric, methods, resamples, seen)
        for method, part in found.items():
            before = parts[method].get(images)
            parts[method][images] = before.joined(part) if before else part
    wanted = grouped(latest, lambda row: row["method"])
    runs = {method: _Runs(found) for method, found in parts.items()}
    return {method: found for method, found in runs.items() if len(found.cells) == len(wanted[method])}


def _split(
    split: int,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    methods: Sequence[str],
    resamples: int,
    seen: dict[bytes, int],
) -> tuple[int, dict[str, _Part]]:
    """Which test images they are, and the runs on one split by method, all on the same resampled images."""
    found: dict[str, tuple[tuple[Run, ...], list[np.ndarray]]] = {}
    first: tuple[np.ndarray, ...] | None = None
    data: Mapping[str, Any] = {}
    for method in methods:
        mine = sorted((row for row in rows if row["method"] == method), key=lambda row: row["seed"])
        try:
            results = [read_result(row["folder"]) for row in mine]
            predictions = [result.predictions for result in results]
        except CheckpointError:
            continue
        if not mine:
            continue
        orders = [np.argsort(p.ids) for p in predictions]
        answers = [p.probs[o] for p, o in zip(predictions, orders, strict=True)]
        tests = [(p.ids[o], p.y_true[o], np.array(p.probs.shape)) for p, o in zip(predictions, orders, strict=True)]
        first, data = (tests[0], results[0].data["data"]) if first is None else (first, data)
        if all(np.array_equal(x, y) for test in tests for x, y in zip(test, first, strict=True)):
            kept = answers if metric in OF_PROBS else [probs.argmax(axis=1) for probs in answers]
            found[method] = tuple((split, row["seed"]) for row in mine), kept
    if first is None:
        return -1, {}
    y_true = first[1]
    value = _metric(metric, data, y_true, int(first[2][1]))
    whole, parts = np.ones((1, len(y_true)), dtype=np.float32), defaultdict(list)
    images = seen.setdefault(first[0].tobytes(), len(seen))
    rng = np.random.default_rng(images)
    for weights in weight_blocks(len(y_true), resamples, rng):
        for method, (_, kept) in found.items():
            parts[method].append(np.stack([value(answers, weights) for answers in kept]))
    smallest = int(np.unique(y_true, return_counts=True)[1].min(initial=len(y_true)))
    return images, {
        method: _Part(runs, np.array([value(a, whole)[0] for a in kept]), np.concatenate(parts[method], 1), smallest)
        for method, (runs, kept) in found.items()
    }


def _metric(
    metric: str, data: Mapping[str, Any], y_true: np.ndarray, classes: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The function from answers and image weights (R, n) to the metric's values (R,).

    Answers are probabilities (n, C) for a metric of `OF_PROBS`, else classes (n,).
    """

    def counted(pred: np.ndarray, weights: np.ndarray, key: str = metric) -> np.ndarray:
        return from_confusion(resampled_confusions(y_true, pred, classes, weights), key)[key]

    def grouped(pred: np.ndarray, weights: np.ndarray) -> np.ndarray:
        groups = class_groups(data.get("train_counts") or None, classes, data.get("shot_groups")) or {}
        rows = np.asarray(groups.get(metric.removesuffix("_accuracy"), ()), dtype=np.int64)
        with warnings.catch_warnings():  # of a sample without an image of these classes: nan, left out later
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.asarray(np.nanmean(counted(pred, weights, "per_class_recall")[..., rows], axis=-1))

    if metric in OF_PROBS:
        return partial(OF_PROBS[metric], y_true)
    return counted if metric in COUNTED else grouped


def _defined(runs: _Runs) -> bool:
    return not any(np.isnan(part.values).any() for part in runs.parts.values())


def _alone(first: _Runs, other: _Runs) -> str:
    return ALONE if len(first.cells & other.cells) == 1 else ""


def _paired_p(first: _Runs, other: _Runs, rng: np.random.Generator) -> float:
    if first.splits != other.splits:
        return float("nan")  # means over other splits are in no order
    gaps = {images: _gap(first.parts[images], part) for images, part in other.parts.items()}
    gaps = {images: gap for images, gap in gaps.items() if gap.runs}
    return bootstrap_p(_Runs(gaps).draws(rng)) if gaps else float("nan")


def _gap(first: _Part, other: _Part) -> _Part:
    """The other minus the first on the runs that both have."""
    runs = tuple(sorted(set(first.runs) & set(other.runs)))
    a, b = ([part.runs.index(run) for run in runs] for part in (first, other))
    return _Part(runs, other.values[b] - first.values[a], other.draws[b] - first.draws[a], 0)
