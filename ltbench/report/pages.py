"""What the page of a cell shows: metrics, classes relative to cross-entropy, curves, calibration, provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from ltbench.errors import CheckpointError
from ltbench.report.charts import class_bars, curve, reliability_diagram, selected_index
from ltbench.report.collect import Entry
from ltbench.results.rows import age
from ltbench.results.words import higher_is_better, is_fraction

BASELINE = "ce"
MOST_CLASSES = 60  # in a confusion matrix
SHADES = 10


@dataclass(frozen=True)
class ClassRow:
    """A class: images of the training and test part, scores in percent, recall minus that of the baseline in points."""

    name: str
    train: int
    test: int
    recall: float
    precision: float
    f1: float
    difference: float


@dataclass(frozen=True)
class CellPage:
    """The content of one page; pictures are None where the cell has nothing to draw."""

    entry: Entry
    metrics: Sequence[tuple[str, str, str]]
    generation: Sequence[tuple[str, str]]
    classes: Sequence[ClassRow]
    baseline: Entry | None
    curves: Sequence[Markup]
    history: Sequence[dict[str, Any]]
    selected: int | None
    bars: Markup | None
    reliability: Markup
    confusion: Sequence[Sequence[tuple[int, str, int]]]
    facts: Sequence[tuple[str, str]]
    phases: Sequence[tuple[str, str, str, str]]
    recipe: str
    warnings: Sequence[str]
    samples: str | None = None
    siblings: Sequence[Entry] = field(default=())


def baselines(entries: Sequence[Entry]) -> dict[tuple[tuple[str, ...], int], Entry]:
    """The newest cell of the baseline by conditions and seed."""
    ordered = sorted(entries, key=lambda e: age(e.row))
    return {(e.key, e.row["seed"]): e for e in ordered if e.row["method"] == BASELINE}


def cell_page(entry: Entry, baseline: Entry | None, siblings: Sequence[Entry]) -> CellPage:
    """Everything of one cell; the baseline is left out for itself and where it was tested on other images."""
    data, warnings = entry.result.data, [str(w) for w in entry.result.data.get("warnings") or []]
    history: list[dict[str, Any]] = []
    try:
        history = [e for e in entry.result.history if isinstance(e, dict)]
    except (CheckpointError, OSError) as error:
        warnings.append(f"no curves: {error}")
    if baseline is not None and (baseline is entry or baseline.evidence.images != entry.evidence.images):
        baseline = None
    classes = _classes(entry, baseline)
    bars = None
    if baseline:
        title = f"recall of each class minus that of {BASELINE}, percentage points"
        bars = class_bars([c.name for c in classes], [c.difference for c in classes], title)
    selection = _mapping(data.get("selection"))
    selected = selected_index(history, selection)
    wanted = (("loss", "training loss"), ("val_score", f"validation {selection.get('metric') or 'score'}"))
    curves = [drawn for name, title in wanted if (drawn := curve(history, name, title, selected))]
    has_samples = "samples.png" in _mapping(data.get("files")) and (entry.result.folder / "samples.png").is_file()
    return CellPage(
        entry=entry,
        metrics=_metrics(entry),
        generation=_generation(entry),
        classes=classes,
        baseline=baseline,
        curves=curves,
        history=history,
        selected=selected,
        bars=bars,
        reliability=reliability_diagram(entry.evidence.bins),
        confusion=_confusion(entry) if len(classes) <= MOST_CLASSES else [],
        facts=_facts(entry),
        phases=_phases(entry),
        recipe=json.dumps(entry.result.cell.get("recipe", {}), indent=2, ensure_ascii=False, default=str),
        warnings=warnings,
        samples=entry.page.removesuffix(".html").removeprefix("cells/") + ".png" if has_samples else None,
        siblings=siblings,
    )


def _metrics(entry: Entry) -> list[tuple[str, str, str]]:
    test, val = entry.result.metrics, _mapping(entry.result.data["metrics"].get("val"))
    names = [name for name, value in test.items() if isinstance(value, int | float)]
    return [(_heading(name), _printed(name, test[name]), _printed(name, val.get(name))) for name in names]


def _generation(entry: Entry) -> list[tuple[str, str]]:
    numbers = _mapping(entry.result.data["metrics"].get("generation"))
    return [(name, f"{v:.4g}") for name, v in numbers.items() if isinstance(v, int | float)]


def _classes(entry: Entry, baseline: Entry | None) -> list[ClassRow]:
    metrics, data = entry.result.metrics, entry.result.data["data"]
    other = baseline.result.metrics["per_class_recall"] if baseline else [math.nan] * len(data["class_names"])
    columns = (metrics["per_class_recall"], metrics["per_class_precision"], metrics["per_class_f1"], other)
    return [
        ClassRow(str(name), train, test, 100 * recall, 100 * precision, 100 * f1, 100 * (recall - before))
        for name, train, test, recall, precision, f1, before in zip(
            data["class_names"], data["train_counts"], data["test_counts"], *columns, strict=True
        )
    ]


def _confusion(entry: Entry) -> list[list[tuple[int, str, int]]]:
    """Rows of true classes: images, their share of the row in percent, and the shade 0 to SHADES."""
    rows = []
    for counts in entry.result.metrics["confusion"]:
        total = sum(counts) or 1
        rows.append([(int(n), f"{100 * n / total:.0f}", round(SHADES * n / total)) for n in counts])
    return rows


def _facts(entry: Entry) -> list[tuple[str, str]]:
    data, row = entry.result.data, entry.row
    parts, environment = data["data"], _mapping(data.get("environment"))
    selection, git = _mapping(data.get("selection")), _mapping(environment.get("git"))
    changed = " with uncommitted changes" if git.get("changed") else ""
    sizes = ", ".join(f"{part} {size}" for part, size in _mapping(parts.get("sizes")).items())
    packages = ", ".join(f"{name} {version}" for name, version in _mapping(environment.get("packages")).items())
    facts = [
        ("cell hash", row["hash"]),
        ("data content", parts.get("content")),
        ("test images", entry.evidence.images),
        ("split", f"{row['split_scheme']}, seed {row['split_seed']}: {sizes}"),
        ("training imbalance", f"{row['train_ratio']:.1f}" if math.isfinite(row["train_ratio"]) else None),
        ("selected", f"stage {selection.get('stage')}, epoch {selection.get('epoch')} by {selection.get('metric')} on "
                     f"{selection.get('split')} ({_printed('', selection.get('score'))})" if selection else None),
        ("initial weights", row["weights"]),
        ("finished", row["finished"]),
        ("device", f"{row['device']}, {environment.get('threads')} threads" if row["device"] else None),
        ("images per second", f"{row['images_per_second']:,.0f}" if row["images_per_second"] else None),
        ("peak memory", f"{row['peak_memory_bytes'] / 1e9:.2f} GB" if row["peak_memory_bytes"] else None),
        ("ltbench", f"{data.get('ltbench')}, commit {git.get('commit')}{changed}" if git else data.get("ltbench")),
        ("python", environment.get("python")),
        ("packages", packages),
        ("components", ", ".join(f"{k} v{v}" for k, v in _mapping(entry.result.cell.get("versions")).items())),
        ("folder", row["folder"]),
        *((f"sha256 of {name}", digest) for name, digest in _mapping(data.get("files")).items()),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in facts if value]


def _phases(entry: Entry) -> list[tuple[str, str, str, str]]:
    phases = _mapping(_mapping(entry.result.data.get("cost")).get("phases"))
    return [
        (
            name,
            f"{p.get('seconds') or 0:,.1f}",
            f"{p.get('device_seconds') or 0:,.1f}",
            "yes" if p.get("cached") else "no",
        )
        for name, p in phases.items()
    ]


def _printed(name: str, value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "n/a"
    return f"{100 * value:.2f}" if is_fraction(name) else f"{value:.4g}"


def _heading(name: str) -> str:
    words = name.replace("_", " ")
    arrow = "" if higher_is_better(name) else " ↓"
    return f"{words}{arrow}, %" if is_fraction(name) else f"{words}{arrow}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
