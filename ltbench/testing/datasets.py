"""Conformance of data sets."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.data.prepare import check_splits, check_table
from ltbench.data.roots import data_root
from ltbench.errors import DataError
from ltbench.interfaces import Dataset, ImageTable
from ltbench.registry import Component
from ltbench.testing.tiny import tiny_table
from ltbench.testing.tools import check_version, require


def check_dataset(component: Component, folder: Path) -> Iterator[str]:
    """Facts, the split, the message where the data is missing, and the data where it is not."""
    yield check_version(component)
    dataset = _build(component, folder)
    yield _facts(dataset)
    classes = len(dataset.classes)
    rows = np.repeat(np.arange(5 * classes), 4)  # 20 images a class in groups of 2
    grid = tiny_table(classes, 8, dataset.channels, "test").take(rows)
    made = replace(grid, ids=np.arange(len(rows)).astype(str), groups=(np.arange(len(rows)) // 2).astype(str))
    _split(dataset, made, "stratified")
    yield "the stratified split is disjoint, keeps groups together and is the same twice"
    empty = folder / "empty"
    empty.mkdir()
    size = min(dataset.native_size or 32, 32)
    try:
        table = dataset.load(empty, size)
    except DataError as error:
        require(str(empty) in str(error), f"the message must say where it looked: {error}")
        yield "data missing: a DataError that says where it looked"
        try:
            table = dataset.load(data_root(), size)
        except DataError:
            yield f"its data is not below {data_root()}: loading was not checked"
            return
    require(table.images.shape[1:] == (size, size, dataset.channels), f"asked {size} px, got {table.images.shape}")
    require(not table.images.flags.writeable, "images must be read-only: images.setflags(write=False)")
    check_table(table, tuple(dataset.classes))
    yield f"loads {len(table)} images at {size} px"
    _split(dataset, table, dataset.scheme)
    yield f"its own split ({dataset.scheme}) is disjoint and the same twice"


def _build(component: Component, folder: Path) -> Dataset:
    options: dict[str, Any] = dict(getattr(component.value, "TEST_OPTIONS", {}))
    if component.options().get("path") is inspect.Parameter.empty and "path" not in options:
        options["path"] = str(_class_folders(folder / "images"))
    dataset = component.build(**options)
    require(isinstance(dataset, Dataset), f"{component.target} must give a ltbench.interfaces.Dataset")
    return dataset


def _class_folders(folder: Path) -> Path:
    from PIL import Image

    table = tiny_table(size=32, part="test")
    for image, label, id in zip(table.images, table.labels, table.ids, strict=True):
        for turn in range(4):
            path = folder / f"class-{label}" / f"{id}-{turn}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rot90(image, turn)).save(path)
    return folder


def _facts(dataset: Dataset) -> str:
    names = tuple(dataset.classes)
    require(len(names) >= 2 and len(set(names)) == len(names), f"classes must be 2 or more different names: {names}")
    require(dataset.channels in (1, 3), f"channels must be 1 or 3, got {dataset.channels}")
    require(dataset.native_size is None or dataset.native_size >= 1, f"native_size is {dataset.native_size}")
    require(bool(dataset.licence and dataset.how_to_get), "licence and how_to_get must be stated")
    for part, counts in (dataset.official_counts or {}).items():
        require(len(counts) == len(names), f"official_counts[{part!r}] has {len(counts)} of {len(names)} entries")
    return f"{len(names)} classes, licence {dataset.licence}"


def _split(dataset: Dataset, table: ImageTable, scheme: str) -> None:
    first, second = dataset.split(table, scheme, 0), dataset.split(table, scheme, 0)
    check_splits(table, first)
    for part in ("train", "val", "test"):
        rows = getattr(first, part)
        require(len(rows) > 0, f"split {scheme!r} leaves the {part} part empty")
        require(np.array_equal(rows, getattr(second, part)), f"split {scheme!r} differs between two calls")
    missing = set(range(len(dataset.classes))) - set(table.labels[first.train].tolist())
    require(not missing, f"split {scheme!r} leaves classes {sorted(missing)} without training images")
