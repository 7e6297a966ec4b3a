"""Stores and the reports made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stores import copy, hostile, measured

from ltbench.report import build_report


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four methods on two data sets, two seeds; one has synthetic images."""
    root = tmp_path_factory.mktemp("store")
    for dataset in ("aptos", "breastmnist"):
        for method in ("ce", "sqrt", "focal", "class-balanced"):
            for seed in (0, 1):
                copy(measured(dataset, method, seed), root)
    copy(measured("aptos", "iois", 0), root)
    return root


@pytest.fixture(scope="session")
def site(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of `store`."""
    out = tmp_path_factory.mktemp("site") / "report"
    assert build_report([store], out).skipped == []
    return out


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of cells whose names hold markup, and of one that is broken."""
    root = tmp_path_factory.mktemp("hostile")
    copy(measured("aptos", "iois"), root, hostile)

    def renamed(record: dict[str, Any]) -> None:
        hostile(record)
        record["cell"] |= {"method": "ce", "standard": False}

    copy(measured("aptos", "ce"), root, renamed)
    (root / "<img src=x onerror=alert(4)>").mkdir()
    (root / "<img src=x onerror=alert(4)>" / "result.json").write_text("{")
    build_report([root], root / "site")
    return root / "site"
