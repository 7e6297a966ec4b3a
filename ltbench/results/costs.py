"""The cost card: what each method cost, phase by phase, and which methods no cheaper one equals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ltbench.errors import UserError
from ltbench.metrics import pareto_front
from ltbench.results.record import read_result
from ltbench.results.render import Table, render
from ltbench.results.tables import aggregate, comparable, newest, selected
from ltbench.results.words import LOWER_IS_BETTER, base_name, printed, table_title

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("training", "generator", "sampling", "reference", "evaluation")
NOTES = (
    "device-seconds of one cell, mean over seeds. training: with sampler feedback; generator: its fits; sampling: "
    "drawing images; reference: guide, features and judge; evaluation: validation, test and image metrics",
    "a fit that several cells share is charged to each in full; rows of different devices cannot be compared",
    "front: no method here is as cheap and better",
)


def part_of(phase: str) -> str:
    """The part of the cost card to which a phase of a record belongs."""
    if phase.startswith("fit "):
        return "reference" if phase.startswith("fit reference-") else "generator"
    return {"train": "training", "feedback": "training", "synthesis": "sampling"}.get(phase, "evaluation")


def within_budget(frame: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """The rows of the methods whose cells cost at most `seconds` device-seconds on average, by table.

    Raises UserError for a budget that is not positive.
    """
    if not seconds > 0:
        raise UserError(f"--budget must be a positive number of device-seconds, got {seconds:g}")
    if not len(frame):
        return frame
    keys = ["dataset", "protocol", "method"]
    return frame[frame.groupby(keys)["device_seconds"].transform("mean") <= seconds]


def cost_card(
    frame: pd.DataFrame,
    metric: str = "macro_f1",
    dataset: str | None = None,
    protocol: str | None = None,
    *,
    include_renamed: bool = False,
    fmt: str = "table",
) -> str:
    """One table per comparable group, cheapest first: quality, device-seconds by part, memory, and the Pareto front."""
    kept = selected(frame, dataset, protocol, metric, include_renamed)
    return render([_card(newest(group), metric) for group in comparable(kept)], fmt)


def _card(latest: pd.DataFrame, metric: str) -> Table:
    records = [_record(method, cells, metric) for method, cells in latest.groupby("method")]
    records.sort(key=lambda r: (math.isnan(r["device_seconds"]), r["device_seconds"], r["method"]))
    sign = -1 if base_name(metric) in LOWER_IS_BETTER else 1
    front = pareto_front([r["device_seconds"] for r in records], [sign * r[f"{metric}_mean"] for r in records])
    rows = []
    for record, best in zip(records, front, strict=True):
        record["front"] = bool(best)
        shown = [_seconds(record[part]) for part in ("device_seconds", *PARTS)]
        memory = record["peak_memory_bytes"] / 2**20
        rows.append(
            [
                record["method"],
                "front" if best else "",
                printed(metric, record[f"{metric}_mean"], record[f"{metric}_sd"]),
                *shown,
                "" if math.isnan(memory) else f"{memory:.0f}",
                str(record["seeds"]),
            ]
        )
    header = ["method", "", metric, "device-seconds", *PARTS, "peak MiB", "seeds"]
    devices = ", ".join(sorted({str(device) for device in latest["device"]}))
    return Table(
        f"cost of {table_title(aggregate(latest, (metric,)))}; device: {devices}", header, rows, records, NOTES
    )


def _record(method: Any, cells: pd.DataFrame, metric: str) -> dict[str, Any]:
    parts = [_parts(read_result(folder).data.get("cost", {}).get("phases", {})) for folder in cells["folder"]]
    values = cells[metric].astype(float)
    record = {
        **{key: cells.iloc[0][key] for key in ("dataset", "protocol")},
        "method": str(method),
        "seeds": len(cells),
        f"{metric}_mean": float(values.mean(skipna=False)),
        f"{metric}_sd": float(values.std(ddof=1, skipna=False)),
        "device_seconds": float(cells["device_seconds"].astype(float).mean()),
        "peak_memory_bytes": float(cells["peak_memory_bytes"].astype(float).max()),
    }
    if cells["external"].astype(bool).any():  # what foreign code cost is unknown, not nothing
        record["device_seconds"] = float("nan")
        return {**record, **dict.fromkeys(PARTS, float("nan"))}
    return {**record, **{part: float(np.mean([found[part] for found in parts])) for part in PARTS}}


def _parts(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    found = dict.fromkeys(PARTS, 0.0)
    for phase, spent in phases.items():
        found[part_of(phase)] += spent.get("device_seconds") or 0.0
    return found


def _seconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{0 if value >= 10 or not value else 1}f}"
