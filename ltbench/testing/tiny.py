"""Tiny data, a tiny protocol and real contexts over them: seconds, no files, no network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltbench.data.prepare import Prepared
from ltbench.data.tables import digest
from ltbench.engine.context import CellContext
from ltbench.engine.device import DevicePolicy
from ltbench.engine.fits import FitCache
from ltbench.engine.run import Run
from ltbench.interfaces import Dataset, ImagePool, ImageTable, Splits
from ltbench.plugins import plugins

PROTOCOL: Mapping[str, Any] = {
    "split": "stratified",
    "split_seed": 0,
    "image_size": 16,
    "stored_size": 16,
    "max_train": None,
    "epochs": 2,
    "batch_size": 8,
    "backbone": "small_cnn",
    "judge": "small_resnet",
    "weights": "none",
    "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4},
    "schedule": {"name": "cosine", "warmup": 1},
    "augment": {"flip": True, "rotation": 0, "shift": 1},
    "precision": "float32",
    "select": "macro_f1",
    "tier": "tiny",
    "synthetic_total": 6,
    "synthetic_ratio": 0.25,
}
SMALL: Mapping[str, Any] = {  # values for options that, under these names, cost time or have no usable default
    "total": 6,
    "train_steps": 3,
    "train_batch": 8,
    "steps": 2,
    "max_size": 16,
    "widths": [8, 8],
    "attention": 0,
}
BASES = {"loss": "ce", "sampler": "instance", "generator": "real-copies", "classifier": "standard"}
PARTS = {"train": None, "val": 4, "test": 5}  # images per class; the training part is long-tailed


def tiny_table(num_classes: int = 3, size: int = 16, channels: int = 3, part: str = "train") -> ImageTable:
    """24 training images for 3 classes, 14, 8 and 2 of them, or 4 ("val") or 5 ("test") a class; learnable."""
    even = PARTS[part]
    counts = np.full(num_classes, even) if even else np.linspace(14, 2, num_classes).round().astype(np.int64)
    labels = np.repeat(np.arange(num_classes, dtype=np.int64), counts)
    rng = np.random.default_rng([num_classes, list(PARTS).index(part)])
    across = np.linspace(0, np.pi, size)
    waves = np.stack([np.sin((k + 1) * across) for k in range(num_classes)])[labels]
    images = 128 + 70 * waves[:, None, :, None] + rng.normal(0, 20, (len(labels), size, size, channels))
    images = images.clip(0, 255).astype(np.uint8)
    images.setflags(write=False)
    ids = np.array([f"{part}{i:03d}" for i in range(len(labels))])
    aux = {"site": np.array(["a", "b"])[np.arange(len(labels)) % 2]}
    return ImageTable(images, labels, ids, ids, aux, digest(images))


class TinyDataset(Dataset):
    """`tiny_table` as a data set with its own split, in memory."""

    licence = "CC0-1.0"
    scheme = "column:part"

    def __init__(self, *, num_classes: int = 3, channels: int = 3) -> None:
        self.classes = tuple(f"class-{k}" for k in range(num_classes))
        self.channels = channels

    def load(self, root: Path, size: int) -> ImageTable:
        tables = {part: tiny_table(len(self.classes), size, self.channels, part) for part in PARTS}

        def joined(field: str) -> np.ndarray:
            return np.concatenate([getattr(table, field) for table in tables.values()])

        part = np.repeat(list(tables), [len(table) for table in tables.values()])
        return ImageTable(joined("images"), joined("labels"), joined("ids"), joined("groups"), {"part": part})


def tiny_data(num_classes: int = 3, size: int = 16, channels: int = 3) -> Prepared:
    """The three parts, as the engine wants them."""
    train, val, test = (tiny_table(num_classes, size, channels, part) for part in PARTS)
    first, second = len(train), len(train) + len(val)
    rows = np.arange(second + len(test), dtype=np.int64)
    return Prepared(
        train=train,
        val=val,
        test=test,
        held_out=val,
        class_names=tuple(f"class-{k}" for k in range(num_classes)),
        train_counts=np.bincount(train.labels, minlength=num_classes).astype(np.int64),
        splits=Splits(rows[:first], rows[first:second], rows[second:]),
        content=train.content,
        warnings=(),
        pool=lambda sources: ImagePool((train.images,) * len(sources), train.content, tuple(sources)),
    )


def tiny_options(kind: str, id: str, **given: Any) -> dict[str, Any]:
    """{name, every option}: defaults, tier tiny, small values, the class's own TEST_OPTIONS, then `given`.

    A component whose defaults are slow or incomplete may carry TEST_OPTIONS, a mapping from option to value.
    """
    component = plugins().registry.get(kind, id)
    known = component.options()
    missing = {"base": BASES.get(kind)} if known.get("base") is inspect.Parameter.empty else {}
    small = {name: value for name, value in {**SMALL, **missing}.items() if name in known}
    tier = dict(getattr(component.value, "TIERS", {}).get("tiny", {}))
    own = dict(getattr(component.value, "TEST_OPTIONS", {}))
    options = {**component.defaults(), **tier, **small, **own, **given}
    component.check_options(options)
    return {"name": component.id, **options}


def tiny_context(
    folder: Path,
    *,
    num_classes: int = 3,
    channels: int = 3,
    seed: int = 0,
    protocol: Mapping[str, Any] | None = None,
    device: str = "cpu",
    **slots: Any,
) -> CellContext:
    """A real context over tiny data, its fit cache and files below `folder`.

    slots: classifier, loss, sampler, generator: an id or {name, ...options}; but for the generator also an instance.
    protocol: fields that replace those of PROTOCOL.
    """
    fields = {**PROTOCOL, **(protocol or {})}
    chosen: dict[str, Any] = {"classifier": "standard", "sampler": "instance", "generator": None, **slots}
    recipe = {slot: _section(slot, spec) for slot, spec in chosen.items()}
    classifier = recipe["classifier"]
    if isinstance(classifier, Mapping):
        classifier = plugins().registry.get("classifier", classifier["name"]).value
    recipe.setdefault("loss", _section("loss", BASES["loss"]) if "loss" in getattr(classifier, "slots", ()) else None)
    versions = {
        f"{slot}:{section['name']}": plugins().registry.get(slot, section["name"]).version
        for slot, section in recipe.items()
        if isinstance(section, Mapping)
    }
    folder.mkdir(parents=True, exist_ok=True)
    policy = DevicePolicy(torch.device(device))
    return CellContext(
        recipe={"seed": seed, "protocol": fields, "dataset": {"name": "tiny"}, **recipe},
        versions=versions,
        data=tiny_data(num_classes, fields["image_size"], channels),
        policy=policy,
        cache=FitCache(folder, policy.device, lambda text: None),
        workdir=folder,
        report=lambda text: None,
    )


def _section(slot: str, spec: Any) -> Any:
    if isinstance(spec, str):
        return tiny_options(slot, spec)
    if isinstance(spec, Mapping):
        given = dict(spec)
        return tiny_options(slot, given.pop("name"), **given)
    return spec


def tiny_run(
    folder: Path, listener: Callable[[int, dict[str, Any]], None] = lambda epoch, line: None, **options: Any
) -> tuple[Run, np.ndarray]:
    """Run `tiny_context(folder, **options)` through the engine: the run, and float32 (N, C) of the validation part."""
    run = Run(tiny_context(folder, **options), "tiny", listener)
    run.train()
    return run, run.evaluator.predict(run.context.val.images, "val")
