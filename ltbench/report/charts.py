"""The charts of a cell's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ltbench.report.reliability import Bin
from ltbench.report.svg import Scale, axes, clipped, element, figure, line, padded, path, text

WIDE, HIGH = 340, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 42


def curve(history: Sequence[dict[str, Any]], name: str, title: str, selected: int | None) -> Markup | None:
    """One scalar of the history by epoch, stages divided by lines, the selected epoch marked; None without numbers."""
    values = [_float(entry.get(name)) for entry in history]
    if not any(map(math.isfinite, values)):
        return None
    x = Scale(0, max(len(values) - 1, 1), LEFT, WIDE - RIGHT)
    y = Scale(*padded(values), HIGH - BOTTOM, TOP)
    points = [(x(k), y(value)) for k, value in enumerate(values)]
    stages = [k for k in range(1, len(history)) if history[k].get("stage") != history[k - 1].get("stage")]
    parts = [line(x(k - 0.5), y.start, x(k - 0.5), y.stop, "divider") for k in stages]
    parts += [path(points, "series")]
    if len(points) == 1:
        parts += [element("circle", cx=points[0][0], cy=points[0][1], r=3, class_="dot")]
    if selected is not None and math.isfinite(values[selected]):
        spoken = element("title", f"selected: epoch {selected}, {values[selected]:.4g}")
        parts += [element("circle", spoken, cx=points[selected][0], cy=points[selected][1], r=5, class_="chosen")]
    return figure(WIDE, HIGH, f"{title} by epoch", axes(x, y, "epoch", title), *parts)


def selected_index(history: Sequence[dict[str, Any]], selection: Mapping[str, Any]) -> int | None:
    """Where in the history the selected epoch stands."""
    wanted = (selection.get("stage"), selection.get("epoch"))
    found = [k for k, entry in enumerate(history) if (entry.get("stage"), entry.get("epoch")) == wanted]
    return found[-1] if found else None


def reliability_diagram(bins: Sequence[Bin]) -> Markup:
    """Accuracy by confidence as bars with the diagonal; below, the share of the images in each bin."""
    x, y = Scale(0, 1, LEFT, WIDE - RIGHT), Scale(0, 1, HIGH - BOTTOM, TOP)
    small = Scale(0, 1, HIGH + 68, HIGH + 14)
    total = sum(b.images for b in bins)
    parts = [axes(x, y, "confidence", "accuracy")]
    for b in bins:
        spoken = element(
            "title", f"confidence {b.low:.2f} to {b.high:.2f}: {b.images} images, accuracy {b.accuracy:.3f}"
        )
        left, wide = x(b.low) + 1, x(b.high) - x(b.low) - 2
        parts += [
            element("rect", spoken, x=left, y=y(b.accuracy), width=wide, height=y(0) - y(b.accuracy), class_="bar")
        ]
        parts += [line(left, y(b.confidence), left + wide, y(b.confidence), "expected")]
        top = small(b.images / total)
        parts += [element("rect", x=left, y=top, width=wide, height=small(0) - top, class_="bar soft")]
    parts += [line(x(0), y(0), x(1), y(1), "diagonal"), line(x(0), small(0), x(1), small(0), "axis")]
    parts += [text(LEFT, HIGH + 86, "share of the images", class_="label")]
    return figure(WIDE, HIGH + 94, "reliability diagram", *parts)


def class_bars(names: Sequence[str], differences: Sequence[float], title: str) -> Markup:
    """One bar per class to the left or right of zero, in points of percent."""
    row, left = 24, 128
    bound = max([1.0, *(abs(d) for d in differences if math.isfinite(d))]) * 1.05
    x = Scale(-bound, bound, left, WIDE - 48)
    height = row * len(names) + 8
    parts = [line(x(0), 4, x(0), height - 4, "axis")]
    for k, (name, value) in enumerate(zip(names, differences, strict=True)):
        top = k * row + 8
        parts += [text(left - 8, top + 12, clipped(name, 17), "end", class_="tick")]
        if not math.isfinite(value):
            parts += [text(WIDE - 4, top + 12, "n/a", "end", class_="tick")]
            continue
        spoken = element("title", f"{name}: {value:+.2f}")
        start, wide = min(x(0), x(value)), abs(x(value) - x(0))
        side = "gain" if value >= 0 else "loss"
        parts += [element("rect", spoken, x=start, y=top, width=wide, height=row - 8, class_=f"bar {side}")]
        parts += [text(WIDE - 4, top + 12, f"{value:+.1f}", "end", class_="tick")]
    return figure(WIDE, height, title, *parts)


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
