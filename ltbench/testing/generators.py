"""Conformance of generators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ltbench
from ltbench.engine.context import CellContext
from ltbench.engine.guide import ClassifierGuide, frozen
from ltbench.engine.pool import Pool
from ltbench.engine.streams import seed_global
from ltbench.errors import DataError
from ltbench.interfaces import Generator
from ltbench.registry import Component
from ltbench.testing.tiny import tiny_context, tiny_options, tiny_run
from ltbench.testing.tools import check_version, require, through_disk


def check_generator(component: Component, folder: Path) -> Iterator[str]:
    """Fit, exact counts, random streams, the fit cache, state, and a run through the engine."""
    yield check_version(component)
    for classes, channels, counts in ((3, 3, [3, 0, 2]), (2, 1, [1, 4])):
        context = tiny_context(folder / f"{classes}", num_classes=classes, channels=channels, generator=component.id)
        before = context.train.images.copy()
        try:
            made = _fitted(component, context)
        except DataError as error:
            if not component.value.pretrained:
                raise
            yield f"its weights are not here, fitting was not checked: {error}"
            return
        require(np.array_equal(before, context.train.images), "fit changed the training images")
        images, labels = _sample(component, made, counts, context)
        amount = "exactly" if made.exact else "at most"
        yield f"{classes} classes, {channels} channels: fits, {amount} {counts} images of each class"
    twice = _sample(component, made, counts, context)
    require(_same((images, labels), twice), "the same random stream gives other images")
    yield "the same random stream gives the same images"
    again = _fitted(component, context)
    require(_same((images, labels), _sample(component, again, counts, context)), "a cached fit gives other images")
    yield "a second fit (from the cache, where it has steps) gives the same images"
    again.load_state_dict(through_disk(made.state_dict(), folder))
    require(_same((images, labels), _sample(component, again, counts, context)), "state changes the images")
    yield "state survives a restart"
    notes = made.notes()
    require(all(isinstance(v, float) for v in notes.values()), f"notes must map names to floats, got {notes}")
    run, _ = tiny_run(folder / "run", sampler="fixed-quota", generator=tiny_options("generator", component.id))
    made_all = int(run.synthesis.counts().sum())
    enough = made_all == 6 or (made_all < 6 and not made.exact)
    require(enough, f"a pool of 6 images was asked for, the engine holds {made_all}")
    yield f"feeds {len(run.history)} epochs of the engine"


def _fitted(component: Component, context: CellContext) -> Any:
    options = {k: v for k, v in context.recipe["generator"].items() if k != "name"}
    generator = ltbench.build("generator", component.id, **options)
    require(isinstance(generator, Generator), f"{component.target} must give a ltbench.interfaces.Generator")
    fit = context.for_fit(component.id, {"options": options, "version": component.version})
    seed_global(context.seed, "fit")
    generator.fit(fit.train, fit)
    return generator


def _sample(
    component: Component, generator: Any, counts: list[int], context: CellContext
) -> tuple[np.ndarray, np.ndarray]:
    seed_global(context.seed, "guide")
    classifier = context.component("classifier")
    classifier.setup(context)
    guide = ClassifierGuide(classifier.logits, context.task.image_shape, generator.value_range)
    with frozen(classifier):
        images, labels = generator.sample(np.array(counts), guide=guide, rng=np.random.default_rng(3))
    Pool(images, labels).check(np.array(counts), context.task.image_shape[2], component.id, generator.exact)
    return images, labels


def _same(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
    return bool(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]))
