"""What choosing on validation promised and the test part did not keep: the difference of both, method by method."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ltbench.results.record import Result
from ltbench.results.render import Table
from ltbench.results.rows import deviation, grouped, numbers
from ltbench.results.store import usable
from ltbench.results.tables import aggregate
from ltbench.results.words import marked, note, number, printed, table_title

NOTES = (
    "gap: validation minus test, mean ± sd over seeds. Both parts hold other images, and what one is harder than the "
    "other is in every row: compare rows",
    "looks: validation scores among which weights were chosen, epochs and candidates of one stage, mean over seeds",
)


def looks(result: Result) -> float:
    """How many validation scores a cell's selection chose among: those of the selected stage; nan without history."""
    stage = result.data.get("selection", {}).get("stage")
    lines = [line for line in result.history if line.get("stage") == stage]
    scores = [score for line in lines for score in line.get("candidate_scores", [line.get("val_score", math.nan)])]
    return float(sum(map(math.isfinite, scores))) or math.nan


def gap_card(latest: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """Validation, test, their difference and the number of looks of the newest cells of a group, largest gap first."""
    records = [_record(cells, metric) for cells in grouped(latest, lambda row: row["method"]).values()]
    records.sort(key=lambda r: (math.isnan(r["gap_mean"]), -r["gap_mean"], r["method"]))
    notes, lines = list[str](), list[list[str]]()
    for r in records:
        spread = "" if math.isnan(r["gap_sd"]) else f" ± {number(metric, r['gap_sd'])}"
        columns = [printed(metric, r[f"{name}_mean"], r[f"{name}_sd"]) for name in (f"val.{metric}", metric)]
        gap = number(metric, r["gap_mean"], signed=True)
        seen = "" if math.isnan(r["looks"]) else f"{r['looks']:.0f}"
        lines.append([marked(r, notes), *columns, gap and gap + spread, seen, str(r["seeds"])])
    for text in NOTES:
        note(notes, text)
    header = ["method", f"validation {metric}", f"test {metric}", "gap", "looks", "seeds"]
    return Table(f"validation and test of {table_title(records[0])}", header, lines, records, notes)


def _record(cells: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    pairs = zip(numbers(cells, f"val.{metric}"), numbers(cells, metric), strict=True)
    gaps = [validation - test for validation, test in pairs]
    seen = [n for cell in cells if (n := usable(cell["folder"], looks)) is not None]
    own = {"gap_mean": statistics.fmean(gaps), "gap_sd": deviation(gaps), "looks": statistics.fmean(seen or [math.nan])}
    return aggregate(cells, (f"val.{metric}", metric)) | own
