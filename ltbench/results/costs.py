"""The cost card: what each method cost, phase by phase, and which methods no cheaper one equals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ltbench.errors import UserError
from ltbench.metrics.ranking import pareto_front
from ltbench.results.record import read_result
from ltbench.results.render import Table
from ltbench.results.rows import as_rows, conditions, grouped, newest, numbers
from ltbench.results.tables import aggregate
from ltbench.results.words import higher_is_better, marked, note, printed, table_title

if TYPE_CHECKING:
    from ltbench.results.rows import Rows

PART = {
    **dict.fromkeys(("train", "feedback"), "training"),
    **dict.fromkeys(("validation", "test", "generation metrics"), "evaluation"),
    "synthesis": "sampling",
    "tuning": "tuning",
}
PARTS = ("training", "generator", "sampling", "reference", "evaluation", "tuning", "other")
NOTES = (
    "device-seconds of one cell, mean over seeds. training: with sampler feedback; generator: its fits; sampling: "
    "drawing images; reference: guide, features and judge; evaluation: validation, test and image metrics; tuning: the "
    "trials that chose the options; other: phases that ltbench does not know",
    "a fit that several cells share is charged to each in full; rows of different devices cannot be compared",
    "seconds are those of the clock, which other work on the machine stretches; peak MiB: the most of any seed, in old "
    "records with what ran before in the process",
    "front: no method here is as cheap and better; small differences of seconds are noise",
)


def part_of(phase: str) -> str:
    """The part of the cost card to which a phase of a record belongs."""
    if phase.startswith("fit "):
        return "reference" if phase.startswith("fit reference-") else "generator"
    return PART.get(phase, "other")


def within_budget(results: Rows, seconds: float) -> list[Mapping[str, Any]]:
    """The rows of the methods whose newest cells cost at most `seconds` device-seconds on average, table by table.

    What foreign code cost is unknown, so no budget pays it. Raises UserError for a budget that is not positive or that
    pays nothing.
    """
    if not seconds > 0:
        raise UserError(f"--budget must be a positive number of device-seconds, got {seconds:g}")
    groups = grouped(as_rows(results), _line)
    costs = {line: statistics.fmean(numbers(newest(cells), "device_seconds")) for line, cells in groups.items()}
    paid = [row for line, cells in groups.items() if costs[line] <= seconds for row in cells]
    if groups and not paid:
        known = [cost for cost in costs.values() if not math.isnan(cost)]
        least = f"the cheapest costs {min(known):.1f}" if known else "none has its cost on record"
        raise UserError(f"no method here costs at most {seconds:g} device-seconds a cell; {least}")
    return paid


def left_out(results: Rows, kept: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods that `within_budget` dropped, with the data set and the protocol where it kept them elsewhere."""
    there, still = {_line(row) for row in kept}, {row["method"] for row in kept}
    lost = [row for row in as_rows(results) if _line(row) not in there]
    where = " on {dataset}, protocol {protocol}"
    return sorted({row["method"] + (where.format_map(row) if row["method"] in still else "") for row in lost})


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A table and its line."""
    return (*conditions(row), row["method"])


def cost_card(latest: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """Quality, device-seconds by part, memory and the Pareto front of the newest cells of a group, cheapest first."""
    records = [_record(cells, metric) for cells in grouped(latest, lambda row: row["method"]).values()]
    records.sort(key=lambda r: (math.isnan(r["device_seconds"]), r["device_seconds"], r["method"]))
    sign = 1 if higher_is_better(metric) else -1
    front = pareto_front([r["device_seconds"] for r in records], [sign * r[f"{metric}_mean"] for r in records])
    rows, notes = [], list[str]()
    for record, best in zip(records, front, strict=True):
        record["front"] = bool(best)
        memory = record["peak_memory_bytes"] / 2**20
        rows.append(
            [
                marked(record, notes),
                "front" if best else "",
                printed(metric, record[f"{metric}_mean"], record[f"{metric}_sd"]),
                *(_seconds(record[part]) for part in ("device_seconds", *PARTS)),
                "" if math.isnan(memory) else f"{memory:.0f}",
                str(record["seeds"]),
            ]
        )
    header = ["method", "", metric, "device-seconds", *PARTS, "peak MiB", "seeds"]
    devices = ", ".join(sorted({str(row["device"]) for row in latest}))
    for text in NOTES:
        note(notes, text)
    return Table(f"cost of {table_title(records[0])}; device: {devices}", header, rows, records, notes)


def _record(cells: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    record = aggregate(cells, (metric,))
    parts = [_parts(read_result(cell["folder"]).data.get("cost", {}).get("phases", {})) for cell in cells]
    spent = {part: statistics.fmean(found[part] for found in parts) for part in PARTS}
    spent["device_seconds"] = statistics.fmean(numbers(cells, "device_seconds"))
    return {**record, **spent, "peak_memory_bytes": max(numbers(cells, "peak_memory_bytes"))}


def _parts(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    found = dict.fromkeys(PARTS, 0.0 if phases else math.nan)  # what foreign code cost is unknown, not nothing
    for phase, spent in phases.items():
        found[part_of(phase)] += spent.get("device_seconds") or 0.0
    return found


def _seconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{0 if value >= 10 or not value else 1}f}"
