"""Conformance of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ltbench
from ltbench.interfaces import GenerationRecord, Metric, PredictionRecord
from ltbench.metrics.naming import INCEPTION_2015
from ltbench.registry import Component
from ltbench.results.files import to_json
from ltbench.results.words import plain_name
from ltbench.testing.tiny import tiny_table
from ltbench.testing.tools import check_version, require


def check_metric(component: Component, folder: Path) -> Iterator[str]:
    """Values on an ordinary record and on its edge cases."""
    yield check_version(component)
    metric = ltbench.build("metric", component.id)
    require(isinstance(metric, Metric), f"{component.target} must give a ltbench.interfaces.Metric")
    require(metric.on in ("predictions", "images"), f"on must be 'predictions' or 'images', got {metric.on!r}")
    records = _predictions() if metric.on == "predictions" else _pools()
    known: set[str] = set()
    for what, record in records.items():
        first, second = metric.compute(record), metric.compute(record)
        require(isinstance(first, dict) and bool(first), f"compute must return a dict, got {first!r}")
        _plain(first)
        require(to_json(first) == to_json(second), f"two calls differ on {what}")
        known |= set(map(plain_name, first))
        yield f"{what}: {len(first)} values, the same twice"
    unknown = set(metric.higher_is_better) - known
    require(not unknown, f"higher_is_better names {sorted(unknown)}, which compute never returns")
    yield "higher_is_better names what it returns"


def _plain(values: dict[str, Any]) -> None:
    try:
        json.loads(to_json(values))
    except (TypeError, ValueError) as error:
        raise ltbench.LtbenchError(f"values must be floats and lists: {error}") from error


def _predictions() -> dict[str, PredictionRecord]:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 10)
    probs = rng.dirichlet(np.ones(3), 30).astype(np.float32)
    sure = np.eye(3, dtype=np.float32)[np.zeros(30, np.int64)]
    counts, names = np.array([14, 8, 2]), ("a", "b", "c")
    return {
        "30 predictions": PredictionRecord(truth, probs, counts, names),
        "one class predicted": PredictionRecord(truth, sure, counts, names),
        "a class without test images": PredictionRecord(truth[:20], probs[:20], counts, names),
    }


def _means(images: np.ndarray) -> np.ndarray:
    return images.mean(2).reshape(len(images), -1)[:, :6].astype(np.float32)


class _Proven:
    """Features whose distances may be called FID and KID."""

    weights = INCEPTION_2015

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return _means(images)


def _pools() -> dict[str, GenerationRecord]:
    real, pool = tiny_table(), tiny_table(part="val")

    def record(images: np.ndarray, labels: np.ndarray) -> GenerationRecord:
        return GenerationRecord(
            images=images,
            labels=labels,
            real_images=real.images,
            real_labels=real.labels,
            num_classes=3,
            features={"means": _means, "proven": _Proven()},
            judge=lambda x: np.full((len(x), 3), 1 / 3, np.float32),
        )

    return {
        "12 images": record(pool.images, pool.labels),
        "an empty pool": record(pool.images[:0], pool.labels[:0]),
    }
