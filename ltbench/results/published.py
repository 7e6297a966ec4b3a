"""The numbers that papers print, under ltbench's ids."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

from ltbench.errors import LtbenchError

HERE = Path(__file__).parent
PLACES = (HERE / "published.csv", HERE.parents[1] / "leaderboards" / "published" / "results.csv")


@cache
def load_published() -> tuple[dict[str, Any], ...]:
    """Every row of the published tables; "score" is the value as a fraction, None where it is no number.

    Raises LtbenchError when the file is in neither place, the installed package or the repository.
    """
    for path in PLACES:
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                return tuple({**row, "score": _score(row)} for row in csv.DictReader(file))
    raise LtbenchError(
        f"the published results are missing, looked in {' and '.join(map(str, PLACES))}; reinstall ltbench"
    )


def published_score(dataset: str, method: str, metric: str, protocol: str | None = None) -> dict[str, Any] | None:
    """The row for these ids, that of the paper's own protocol first, or None. FID is never offered for a distance."""
    rows = [
        row
        for row in load_published()
        if (row["dataset_id"], row["method_id"], row["metric_id"]) == (dataset, method, metric)
        and row["score"] is not None
    ]
    return min(rows, key=lambda row: not (protocol or "").startswith(row["protocol_id"])) if rows else None


def _score(row: dict[str, str]) -> float | None:
    try:
        value = float(row["value"])
    except ValueError:
        return None
    if not row["metric_id"]:
        return None
    return round(value / 100, 6) if row["notes"].startswith("percent") else value
