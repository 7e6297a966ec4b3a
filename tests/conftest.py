"""Every test runs on one thread and with a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder for the session, seen by subprocesses too."""
    import torch

    torch.set_num_threads(1)
    before = {name: os.environ.get(name) for name in ("LTBENCH_CACHE", "OMP_NUM_THREADS")}
    root = tmp_path_factory.mktemp("cache")
    os.environ.update(LTBENCH_CACHE=str(root), OMP_NUM_THREADS="1")
    yield root
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
