"""The engine's side of the context: what a cell, and what a fit inside it, may use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import ltbench
from ltbench.cell import digest
from ltbench.data.prepare import Prepared
from ltbench.engine.device import DevicePolicy
from ltbench.engine.fits import FitCache, Phase
from ltbench.engine.streams import numpy_stream, torch_stream
from ltbench.interfaces import Context, Generator, ImagePool, ReferenceModel, Stateful, Task
from ltbench.plugins import plugins


class Cost:
    """Seconds by phase; a phase found in a cache is charged what it cost when it was made."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, Any]] = {}
        self._inner = 0.0  # seconds of the blocks that have ended inside the one that is open

    def add(self, phase: str, seconds: float, cached: bool = False) -> None:
        """Charge seconds to a phase."""
        entry = self.phases.setdefault(phase, {"seconds": 0.0, "device_seconds": 0.0, "cached": cached})
        entry["seconds"] += seconds
        entry["device_seconds"] += seconds

    @contextmanager
    def of(self, phase: str, policy: DevicePolicy) -> Iterator[None]:
        """Charge what happens inside, without fits and phases inside, which are charged by themselves."""
        with self._block(lambda seconds: self.add(phase, seconds)):
            try:
                yield
            finally:
                policy.synchronise()

    def apart(self, steps: Iterator[int]) -> Iterator[int]:
        """The steps of a fit; its time, waiting for it and loading it are charged to no phase around it."""
        with self._block(lambda seconds: None):
            yield from steps

    @contextmanager
    def _block(self, own: Callable[[float], None]) -> Iterator[None]:
        outer, self._inner, begun = self._inner, 0.0, time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - begun
            own(max(whole - self._inner, 0.0))
            self._inner = outer + whole


class CellContext(Context):
    """Context of one cell; `for_fit` gives that of a component's fit."""

    def __init__(
        self,
        *,
        recipe: Mapping[str, Any],
        versions: Mapping[str, int],
        data: Prepared,
        policy: DevicePolicy,
        cache: FitCache,
        workdir: Path,
        report: Callable[[str], None],
        weights_path: str | None = None,
    ) -> None:
        size = int(recipe["protocol"]["image_size"])
        self.recipe, self.versions, self.policy, self.cache = recipe, versions, policy, cache
        self.train, self.val, self.held_out, self._pool = data.train, data.val, data.held_out, data.pool
        self.task = Task(
            num_classes=len(data.class_names),
            class_names=tuple(data.class_names),
            class_counts=data.train_counts,
            image_shape=(size, size, int(data.train.images.shape[3])),
        )
        self.device, self.workdir, self.report = policy.device, workdir, report
        self.weights_path = weights_path
        self.seed: int = recipe["seed"]
        self.stage, self.epoch = "setup", 0
        self.cost = Cost()
        self.fits: dict[str, str] = {}  # phase -> its hash, of every fit used so far
        self.logged: dict[str, float] = {}
        self._owner: dict[str, Any] = {}
        self._references: dict[str, ReferenceModel] = {}
        self._train_key = digest([data.content, data.train.ids.tolist(), data.train.labels.tolist()])

    def pool(self, sources: Sequence[str]) -> ImagePool:
        return self._pool(sources)

    def fit(self, generator: Generator, spec: Mapping[str, Any]) -> None:
        """Fit a generator built from spec {name, every option}; finished phases come from the cache.

        They are shared by all cells that agree in its fit_options.
        """
        wanted, component = generator.fit_options, plugins().registry.get("generator", spec["name"])
        given = component.settled({k: v for k, v in spec.items() if k != "name"})
        key = {k: v for k, v in given.items() if wanted is None or k in wanted}
        generator.fit(self.train, self.for_fit(spec["name"], {"options": key, "version": component.version}))

    def fit_generator(self, spec: str | Mapping[str, Any]) -> Generator:
        full = {"name": spec} if isinstance(spec, str) else dict(spec)
        generator = ltbench.build("generator", full)
        self.fit(generator, full)
        return generator

    def component(self, slot: str) -> Any:
        return ltbench.build(slot, self.recipe[slot])

    def at(self, stage: str, epoch: int) -> None:
        """Set the clock that keys the random streams."""
        self.stage, self.epoch = stage, epoch

    def rng(self, *tags: str | int) -> np.random.Generator:
        return numpy_stream(self.seed, self.stage, self.epoch, *tags)

    def torch_rng(self, *tags: str | int) -> torch.Generator:
        return torch_stream(self.seed, self.stage, self.epoch, *tags)

    def autocast(self) -> Any:
        return self.policy.autocast()

    def for_fit(self, name: str, key: Mapping[str, Any]) -> CellContext:
        """A context whose seed is the split's and whose phases are cached under `key`; cost and log are shared."""
        fit = copy(self)
        fit.seed = int(self.recipe["protocol"]["split_seed"])
        fit.at(f"fit:{name}", 0)
        fit._owner = {"component": name, **key}
        return fit

    def steps(
        self,
        name: str,
        total: int,
        owner: Stateful,
        options: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Iterator[int]:
        where = {"precision": self.policy.precision, "device": self.policy.device.type}
        key = {**self._owner, "train": data or self._train_key, **where}
        if options is not None:
            key["options"] = dict(options)
        phase = Phase(f"{self._owner.get('component', 'cell')}/{name}", int(total), key, self.seed)
        charged = self.fits.get(phase.name) == phase.hash  # a resumed cell loads its fits again
        self.fits[phase.name] = phase.hash

        def charge(seconds: float, cached: bool) -> None:
            if not charged:
                self.cost.add(f"fit {phase.name}", seconds, cached)

        return self.cost.apart(self.cache.steps(phase, owner, charge))

    def reference(self, role: Literal["guide", "features", "judge"]) -> ReferenceModel:
        from ltbench.engine.reference import train_reference

        kind = "judge" if role == "judge" else "guide"
        if kind not in self._references:
            self._references[kind] = train_reference(kind, self)
        return self._references[kind]

    def log(self, **scalars: float) -> None:
        self.logged.update(scalars)
