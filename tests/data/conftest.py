from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ltbench.interfaces.dataset import ImageTable


@pytest.fixture(scope="session")
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, _session_cache: Path) -> Path:
    monkeypatch.setenv("LTBENCH_CACHE", str(_session_cache))
    return _session_cache


@pytest.fixture
def table() -> Callable[..., ImageTable]:
    """A table of given labels (and groups, columns) with random images."""

    def make(labels: list[int] | np.ndarray, groups: list[str] | None = None, size: int = 4, **aux: list) -> ImageTable:
        n = len(labels)
        images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        ids = np.array([f"i{k}" for k in range(n)], dtype=str)
        columns = {name: np.array(values) for name, values in aux.items()}
        group = np.array(groups) if groups is not None else ids
        return ImageTable(images, np.asarray(labels, dtype=np.int64), ids, group, columns)

    return make
