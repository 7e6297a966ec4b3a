"""Two methods on the same images: paired differences over images and seeds, tests, recall per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ltbench.errors import UserError
from ltbench.metrics import (
    Precision,
    bootstrap_p,
    hierarchical_draws,
    holm,
    interval,
    jeffreys,
    mcnemar,
    metric_draws,
    shared_draws,
    sign_flip,
)
from ltbench.metrics.classification import confusion_matrix, from_confusion
from ltbench.metrics.intervals import split_error
from ltbench.results.pairing import Pair, aligned, pairs_of, read_pairs, shared
from ltbench.results.rows import as_rows
from ltbench.results.store import load_results
from ltbench.results.words import table_title

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("macro_f1", "balanced_accuracy", "mcc")
LEVEL = 0.05  # for all of them together


class Difference(NamedTuple):
    """b - a of one metric over paired seeds, with 95 % intervals and two-sided p values.

    low, high, p: other images and other seeds; with one seed other images alone. p_holm: p corrected for the number of
    metrics. images_*: these trained models on other images. wilcoxon_p: exact, over seeds. detectable: the smallest
    true difference found with a power of 80 % when all metrics are tested at 5 % together, nan with one run. more: 0 or
    how many more runs, seeds of one split or else splits, would separate the two, None where none would and with one.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    images_low: float
    images_high: float
    images_p: float
    wilcoxon_p: float
    detectable: float
    more: int | None


@dataclass(frozen=True)
class ClassRecall:
    """One class: its test images (mean over splits), recall of both with Jeffreys intervals, exact paired p, Holm's."""

    name: str
    n: float
    a: float
    a_interval: tuple[float, float]
    b: float
    b_interval: tuple[float, float]
    p: float
    p_holm: float


@dataclass(frozen=True)
class DifferingImage:
    """An image that some seed answers differently: its class and the answers of both, seed by seed."""

    id: str
    label: int
    a: tuple[int, ...]
    b: tuple[int, ...]

    @property
    def gain(self) -> int:
        """Seeds of b that are right less those of a."""
        return sum(x == self.label for x in self.b) - sum(x == self.label for x in self.a)


@dataclass(frozen=True)
class Comparison:
    """Method b against a over paired splits and seeds.

    title: the conditions that all pairs share. seeds, split_seeds: of the pairs, in the order of mcnemar and n_differ.
    differences: by metric. mcnemar: per pair (only a right, only b right, p). recall: per class, in class order.
    images: those answered differently, the greatest difference first. recall_*: (C,) means.
    """

    dataset: str
    protocol: str
    a: str
    b: str
    title: str
    seeds: tuple[int, ...]
    split_seeds: tuple[int, ...]
    n_splits: int
    n_images: int
    class_names: tuple[str, ...]
    differences: dict[str, Difference]
    mcnemar: list[tuple[int, int, float]]
    n_differ: list[int]
    recall: list[ClassRecall]
    images: list[DifferingImage]

    @property
    def recall_a(self) -> np.ndarray:
        """Mean recall of a, (C,)."""
        return np.array([row.a for row in self.recall])

    @property
    def recall_b(self) -> np.ndarray:
        """Mean recall of b, (C,)."""
        return np.array([row.b for row in self.recall])


@dataclass(frozen=True)
class _Split:
    """Runs on one test part: its pairs, ids and labels (n,), answers (k, n) of both sides."""

    pairs: tuple[Pair, ...]
    ids: np.ndarray
    y_true: np.ndarray
    a: np.ndarray
    b: np.ndarray


def comparison(
    results: pd.DataFrame | Path | str,
    a: str,
    b: str,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    resamples: int = 2000,
    tuned: bool = False,
    imbalance: str | None = None,
    weights: str | None = None,
) -> Comparison:
    """Compare by split and seed on the same test images; `results` is a folder or `load_results` of it.

    tuned: tuned rows alone. imbalance, weights: "default" or the value, where the two share several. Raises UserError
    when they share no data set, protocol, conditions, seed or test images, or several of them without a choice.
    """
    if a == b:
        raise UserError(f"{a} is to be compared with itself; name two methods")
    rows = as_rows(load_results(results) if isinstance(results, str | Path) else results)
    there = {row["method"] for row in rows}
    rows = [row for row in rows if bool(row.get("tuning")) == tuned]  # a tuned row is another than the untuned one
    for name in sorted({a, b} & there - {row["method"] for row in rows}):
        kind, way = ("tuned", "tune it first") if tuned else ("untuned", "compare tuned rows with --tuned")
        raise UserError(f"method {name!r} has no {kind} result here; {way}")
    one, two = ([row for row in rows if row["method"] == name] for name in (a, b))
    dataset = shared("dataset", dataset, one, two, a, b)
    one, two = ([row for row in side if row["dataset"] == dataset] for side in (one, two))
    protocol = shared("protocol", protocol, one, two, a, b)
    one, two = ([row for row in side if row["protocol"] == protocol] for side in (one, two))
    found = pairs_of(one, two, a, b, {"imbalance": imbalance, "weights": weights})
    splits = _splits(read_pairs(found))
    pairs = [pair for split in splits for pair in split.pairs]
    classes = pairs[0].a.predictions.probs.shape[1]
    runs = [(s.y_true, x, y) for s in splits for x, y in zip(s.a, s.b, strict=True)]
    names = tuple(pairs[0].a.data["data"].get("class_names") or map(str, range(classes)))
    return Comparison(
        dataset=dataset,
        protocol=protocol,
        a=a,
        b=b,
        title=table_title(found[0][0], (pair.split_seed for pair in pairs)),
        seeds=tuple(pair.seed for pair in pairs),
        split_seeds=tuple(pair.split_seed for pair in pairs),
        n_splits=len(splits),
        n_images=len(splits[0].ids),
        class_names=names,
        differences=_differences(splits, classes, resamples),
        mcnemar=[mcnemar(*run) for run in runs],
        n_differ=[int((x != y).sum()) for _, x, y in runs],
        recall=_recall(splits, names),
        images=_images(splits),
    )


def _splits(pairs: Sequence[Pair]) -> list[_Split]:
    """Pairs gathered by their test images."""
    groups: dict[bytes, list[tuple[Pair, Any, Any]]] = {}
    for pair in pairs:
        one, two = aligned(pair.a, pair.b)
        groups.setdefault(one.ids.tobytes(), []).append((pair, one, two))
    return [
        _Split(
            tuple(pair for pair, _, _ in group),
            group[0][1].ids,
            group[0][1].y_true,
            np.stack([one.probs.argmax(axis=1) for _, one, _ in group]),
            np.stack([two.probs.argmax(axis=1) for _, _, two in group]),
        )
        for group in groups.values()
    ]


def _differences(splits: Sequence[_Split], classes: int, resamples: int) -> dict[str, Difference]:
    rng = np.random.default_rng(0)
    points: dict[str, list[np.ndarray]] = {key: [] for key in KEYS}
    images: dict[str, list[np.ndarray]] = {key: [] for key in KEYS}
    for split in splits:
        both, k = [*split.a, *split.b], len(split.a)
        values = from_confusion(np.stack([confusion_matrix(split.y_true, p, classes) for p in both]))
        drawn = metric_draws(split.y_true, both, classes, resamples, rng)
        for key in KEYS:
            points[key].append(values[key][k:] - values[key][:k])
            images[key].append(drawn[key][k:] - drawn[key][:k])
    found = {key: _difference(points[key], images[key], rng) for key in KEYS}
    corrected = holm([d.p for d in found.values()]).tolist()
    return {key: d._replace(p_holm=p) for (key, d), p in zip(found.items(), corrected, strict=True)}


def _difference(points: list[np.ndarray], images: list[np.ndarray], rng: np.random.Generator) -> Difference:
    from scipy.stats import wilcoxon

    seeds, image_mean = np.concatenate(points), np.mean([draws.mean(axis=0) for draws in images], axis=0)
    common = np.mean([shared_draws(draws) for draws in images], axis=0)
    drawn = hierarchical_draws(points, images, rng)
    k, value = len(seeds), float(np.mean([p.mean() for p in points]))
    if len(points) > 1:
        precision = Precision(0.0, split_error(points, images) * len(points) ** 0.5, len(points))
    else:
        precision = Precision(float(np.nanstd(common)), float(seeds.std(ddof=1)) if k > 1 else float("nan"), k)
    level = LEVEL / len(KEYS)
    p = bootstrap_p(drawn)
    return Difference(
        value,
        *interval(drawn),
        p,
        p,
        *interval(image_mean),
        bootstrap_p(image_mean),
        float(wilcoxon(seeds, method="exact").pvalue) if k > 1 and (seeds != 0).any() else 1.0,
        precision.detectable(level=level),
        precision.more(value, level=level),
    )


def _recall(splits: Sequence[_Split], names: Sequence[str]) -> list[ClassRecall]:
    rows = []
    for c, name in enumerate(names):
        right = [[(side[:, s.y_true == c] == c) for side in (s.a, s.b)] for s in splits]
        gains = np.concatenate([b.sum(axis=0) - a.sum(axis=0) for a, b in right])
        n = float(np.mean([a.shape[1] for a, _ in right]))
        rates = [float(np.mean([side[i].mean() for side in right])) if len(gains) else float("nan") for i in (0, 1)]
        bounds = [_recall_interval(rate, n) for rate in rates]
        p = sign_flip(gains) if len(gains) else float("nan")
        rows.append(ClassRecall(name, n, rates[0], bounds[0], rates[1], bounds[1], p, p))
    corrected = holm([row.p for row in rows]).tolist()
    return [replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True)]


def _recall_interval(rate: float, n: float) -> tuple[float, float]:
    low, high = jeffreys(0.0 if np.isnan(rate) else min(rate * n, n), n)
    return float(low), float(high)


def _images(splits: Sequence[_Split]) -> list[DifferingImage]:
    found = [
        DifferingImage(str(s.ids[i]), int(s.y_true[i]), tuple(s.a[:, i].tolist()), tuple(s.b[:, i].tolist()))
        for s in splits
        for i in np.flatnonzero((s.a != s.b).any(axis=0))
    ]
    return sorted(found, key=lambda image: (-abs(image.gain), image.id))
