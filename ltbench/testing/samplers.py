"""Conformance of samplers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ltbench
from ltbench.engine.streams import seed_global
from ltbench.errors import LtbenchError
from ltbench.interfaces import ClassSampler, EpochPlan, EpochView, Sampler
from ltbench.registry import Component
from ltbench.testing.tiny import BASES, tiny_options, tiny_run
from ltbench.testing.tools import check_version, require, through_disk

KNOWN = frozenset({"train_accuracy", "train_loss", "running_accuracy", "union_accuracy"})
EPOCHS, DRAWS = 4, 20_000


def check_sampler(component: Component, folder: Path) -> Iterator[str]:
    """Plans, counts, random streams, state, and a run through the engine."""
    yield check_version(component)
    for classes in (3, 2):
        counts = np.linspace(14, 2, classes).round().astype(np.int64)
        sampler = _ready(component, counts)
        unknown = frozenset(sampler.needs) - KNOWN
        require(not unknown, f"needs {sorted(unknown)}, which no one provides; known: {sorted(KNOWN)}")
        plans, asked = _play(sampler, counts, range(EPOCHS))
        again, same = _play(_ready(component, counts), counts, range(EPOCHS))
        require(_equal(plans, again) and _equal(asked, same), "the same random stream gives other plans or counts")
        made = sum(int(c.sum()) for c in asked if c is not None)
        yield f"{classes} classes: {sum(map(len, plans))} valid plans in {EPOCHS} epochs, the same twice"
    yield f"synthetic_counts: {made} images asked for in all" if made else "synthetic_counts: no pool is asked for"
    yield _empty_class(component)
    yield _state(component, folder)
    many = _ready(component, np.array([60, 30, 10]))
    if isinstance(many, ClassSampler):
        yield _frequencies(many)
    generator = BASES["generator"] if made else None
    run, _ = tiny_run(folder / "run", sampler=tiny_options("sampler", component.id), generator=generator)
    yield f"trains {len(run.history)} epochs in the engine"


def _ready(component: Component, counts: np.ndarray) -> Sampler:
    sampler = ltbench.build("sampler", tiny_options("sampler", component.id))
    require(isinstance(sampler, Sampler), f"{component.target} must give a ltbench.interfaces.Sampler")
    sampler.setup(class_counts=counts.copy(), total_epochs=EPOCHS)
    return sampler


def _play(sampler: Sampler, counts: np.ndarray, epochs: range) -> tuple[list[list[EpochPlan]], list[Any]]:
    """What the engine does with a sampler, without training: plans and counts of each epoch."""
    classes, real = len(counts), np.repeat(np.arange(len(counts)), counts)
    pool = np.zeros(classes, np.int64)
    plans, asked = [], []
    for epoch in epochs:
        feedback: dict[str, Any] = {"epoch": epoch, "pool_counts": pool, "score": 0.5 if epoch else float("nan")}
        feedback["val_counts"] = np.full(classes, 4)
        if epoch:
            feedback |= {need: np.linspace(0.9, 0.2, classes) for need in sampler.needs}
        seed_global("sampler", epoch)
        wanted = sampler.synthetic_counts(feedback)
        if wanted is not None:
            wanted = np.asarray(wanted)
            whole = wanted.shape == (classes,) and wanted.dtype.kind in "iu" and bool((wanted >= 0).all())
            require(whole, f"synthetic_counts must be whole numbers >= 0, one a class, got {wanted}")
            pool = wanted.astype(np.int64)
        labels = np.concatenate([real, np.repeat(np.arange(classes), pool)])
        view = EpochView(labels, np.arange(len(labels)) >= len(real), epoch, EPOCHS, 8, classes)
        kept = labels.copy()
        offered = sampler.plan(view, feedback, np.random.default_rng(epoch))
        require(isinstance(offered, list) and len(offered) > 0, f"plan must return a list of plans, got {offered!r}")
        plans.append([plan.check(view) for plan in offered])
        require(np.array_equal(kept, labels), "plan changed the labels of the view")
        sampler.observe([0.5 + 0.01 * k for k in range(len(offered))], len(offered) - 1)
        json.dumps(sampler.notes())
        asked.append(wanted)
    return plans, asked


def _equal(a: list[Any], b: list[Any]) -> bool:
    def plain(value: Any) -> Any:
        if isinstance(value, EpochPlan):
            return value.rows.tolist(), value.sizes.tolist()
        return [plain(v) for v in value] if isinstance(value, list) else np.asarray(value).tolist()

    return bool(plain(a) == plain(b))


def _empty_class(component: Component) -> str:
    counts = np.array([14, 8, 0])
    try:
        _play(_ready(component, counts), counts, range(2))
    except LtbenchError as error:
        return f"a class without images: {type(error).__name__}"
    return "a class without images: valid plans"


def _state(component: Component, folder: Path) -> str:
    counts = np.array([14, 8, 2])
    used, again = _ready(component, counts), _ready(component, counts)
    _play(used, counts, range(2))
    again.load_state_dict(through_disk(used.state_dict(), folder))
    ours, theirs = (_play(sampler, counts, range(2, EPOCHS)) for sampler in (used, again))
    require(_equal(ours[0], theirs[0]) and _equal(ours[1], theirs[1]), "plans differ after a restart")
    return "state survives a restart"


def _frequencies(sampler: ClassSampler) -> str:
    from scipy.stats import chisquare

    labels = np.repeat(np.arange(3), [DRAWS * 6 // 10, DRAWS * 3 // 10, DRAWS // 10])
    view = EpochView(labels, np.zeros(len(labels), bool), 1, EPOCHS, 64, 3)
    rows = sampler.plan(view, {}, np.random.default_rng(0))[0].rows
    probs = np.asarray(sampler.class_probs(1))
    seen = np.bincount(labels[rows], minlength=3)
    require(not seen[probs == 0].any(), "a class of probability 0 was drawn")
    p = chisquare(seen[probs > 0], probs[probs > 0] * len(rows)).pvalue if (probs > 0).sum() > 1 else 1.0
    require(p > 1e-6, f"{len(rows)} draws {seen.tolist()} do not follow class_probs {probs} (p = {p:.2g})")
    return f"{len(rows)} draws follow class_probs"
