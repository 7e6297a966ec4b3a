"""The tables of a comparison: differences with what they allow to conclude, classes, images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.metrics import seeds_can_show, smallest_wilcoxon_p
from ltbench.results.comparison import LEVEL, Comparison, Difference, comparison
from ltbench.results.render import Table, render
from ltbench.results.standing import OVERLAP, TWO, few_images
from ltbench.results.store import counted

if TYPE_CHECKING:
    import pandas as pd

SHOWN_IMAGES = 10


def compare(
    results: pd.DataFrame | Path | str,
    a: str,
    b: str,
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    fmt: str = "table",
    resamples: int = 2000,
    all_images: bool = False,
    tuned: bool = False,
    imbalance: str | None = None,
    weights: str | None = None,
) -> str:
    """The text of `comparison`; all_images: every image on which they differ and not the first ten."""
    choice: dict[str, Any] = {"tuned": tuned, "imbalance": imbalance, "weights": weights}
    found = comparison(results, a, b, dataset, protocol, resamples=resamples, **choice)
    return render(comparison_tables(found, all_images), fmt)


def comparison_tables(c: Comparison, all_images: bool = False) -> list[Table]:
    """Three tables: metrics, recall per class, images answered differently."""
    return [_metrics(c), _classes(c), _images(c, None if all_images else SHOWN_IMAGES)]


def verdict(c: Comparison, d: Difference) -> str:
    """ "tie", or which method is higher; a star only where this many seeds can reach significance at all."""
    if d.p_holm >= LEVEL:
        return "tie"
    higher = f"{c.b if d.value > 0 else c.a} higher"
    if len(c.seeds) < 2:
        return f"{higher} (these models)"
    return f"{higher} *" if seeds_can_show(_independent(c)) else higher


def _independent(c: Comparison) -> int:
    """How many pairs are independent of each other: splits, or the seeds of one."""
    return c.n_splits if c.n_splits > 1 else len(c.seeds)


def _metrics(c: Comparison) -> Table:
    k = len(c.seeds)
    images = counted(c.n_images, "test image") + (f" in each of {c.n_splits} splits" if c.n_splits > 1 else "")
    title = f"{c.b} minus {c.a} on {c.title}; seed{'s' if k > 1 else ''} {', '.join(map(str, c.seeds))}, {images}"
    header = ["metric", "difference", "low", "high", "p", "p Holm", "images only", "p", "detectable", "verdict"]
    rows = [
        [
            key,
            *(f"{100 * x:+.2f}" for x in d[:3]),
            *(f"{x:.3f}" for x in (d.p, d.p_holm)),
            f"[{100 * d.images_low:+.2f}, {100 * d.images_high:+.2f}]",
            f"{d.images_p:.3f}",
            "n/a" if math.isnan(d.detectable) else f"{100 * d.detectable:.2f}",
            verdict(c, d),
        ]
        for key, d in c.differences.items()
    ]
    records = []
    for key, d in c.differences.items():
        numbers = d._asdict()
        records.append(
            {
                "table": "metrics",
                "a": c.a,
                "b": c.b,
                "metric": key,
                "difference": numbers.pop("value"),
                **numbers,
                "verdict": verdict(c, d),
            }
        )
    return Table(title, header, rows, records, _notes(c))


def _notes(c: Comparison) -> list[str]:
    k, splits, notes = len(c.seeds), c.n_splits > 1, list[str]()
    unit = "split" if splits else "seed"
    if k < 2:
        notes.append(
            "one seed: low, high and p are for these two trained models on other images; how much training again "
            "would change is unknown"
        )
    else:
        notes += [
            f"low, high, p: over {'splits, ' if splits else ''}test images and seeds, paired, 95 %; images only: these "
            "trained models on other images",
            "p Holm: for the number of metrics; detectable: the smallest true difference found with a power of 80 % at "
            "5 % for all of them",
        ]
    if splits:
        notes.append(OVERLAP)
    if _independent(c) == 2:
        notes.append(TWO)
    pairs = _independent(c)
    if not seeds_can_show(pairs):
        least = f"{smallest_wilcoxon_p(pairs):.3g}"
        notes.append(f"no stars: the exact Wilcoxon test of {counted(pairs, unit)} cannot go below p = {least}")
    key, d = next(iter(c.differences.items()))
    if k > 1 and d.p_holm >= LEVEL and d.value != 0:
        gap = f"{100 * d.value:+.2f}"
        if d.more is None:
            where = "" if splits else " on this test part"
            notes.append(f"{key}: at a difference of {gap} no number of {unit}s would separate these{where}")
        elif d.more:
            more = counted(d.more, f"more {unit}")
            notes.append(f"{key}: about {more} would separate these, if {gap} is the true difference")
    notes += few_images(int(min((row.n for row in c.recall if row.n), default=0)))
    notes += [
        f"{split}seed {seed}: answers differ on {differ} of {c.n_images} images; only {c.a} right {test[0]}, "
        f"only {c.b} right {test[1]}, McNemar exact p = {test[2]:.3g} for these two models"
        for split, seed, differ, test in zip(_splits_named(c), c.seeds, c.n_differ, c.mcnemar, strict=True)
    ]
    return notes


def _splits_named(c: Comparison) -> list[str]:
    return [f"split {split}, " if c.n_splits > 1 else "" for split in c.split_seeds]


def _classes(c: Comparison) -> Table:
    rows, records = [], []
    for row in c.recall:
        sides = [(row.a, row.a_interval), (row.b, row.b_interval)]
        printed = [
            "n/a" if math.isnan(value) else f"{100 * value:.2f} [{100 * low:.1f}, {100 * high:.1f}]"
            for value, (low, high) in sides
        ]
        gap = row.b - row.a
        tests = ["", "", ""] if math.isnan(gap) else [f"{100 * gap:+.2f}", f"{row.p:.3f}", f"{row.p_holm:.3f}"]
        rows.append([row.name, f"{row.n:g}", *printed, *tests])
        record = {"table": "classes", "class": row.name, "n": row.n, "a": row.a, "b": row.b}
        record |= {"p": row.p, "p_holm": row.p_holm}
        for name, (_, (low, high)) in zip("ab", sides, strict=True):
            record |= {f"{name}_low": low, f"{name}_high": high}
        records.append(record)
    notes = [
        "[ ]: 95 % Jeffreys interval for n images; p: exact, images kept together over seeds (one seed: McNemar), for "
        "these trained models: it says nothing of other seeds"
    ]
    absent = [row.name for row in c.recall if row.n == 0]
    if absent:
        notes.append(f"no test image of {', '.join(absent)}: left out of every mean")
    header = ["class", "n", c.a, c.b, "difference", "p", "p Holm"]
    return Table("recall per class, percent", header, rows, records, notes)


def _images(c: Comparison, shown: int | None) -> Table:
    def named(answers: tuple[int, ...]) -> str:
        return ", ".join(c.class_names[x] for x in answers)

    kept = c.images[:shown]
    some = f", {len(kept)} of them" if len(kept) < len(c.images) else ""
    title = f"{counted(len(c.images), 'image')} answered differently{some}, greatest difference first"
    rows = [[i.id, c.class_names[i.label], named(i.a), named(i.b)] for i in kept]
    records = [
        {"table": "images", "id": i.id, "class": c.class_names[i.label], "a": named(i.a), "b": named(i.b)} for i in kept
    ]
    notes = ["all of them: ltbench compare --images"] if some else []
    return Table(title, ["image", "class", c.a, c.b], rows, records, notes)
