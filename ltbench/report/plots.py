"""The plots of the overview: quality against cost, and average ranks across data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ltbench.metrics.ranking import pareto_front
from ltbench.report.ranks import Ranks
from ltbench.report.svg import Scale, axes, clipped, element, figure, line, padded, path, text

WIDE, HIGH = 680, 400


class Point(NamedTuple):
    """A method: its cost (seconds, positive) and quality (higher is better)."""

    method: str
    cost: float
    quality: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points on the Pareto front, in order of cost."""
    chosen = pareto_front([p.cost for p in points], [p.quality for p in points])
    return sorted((p for p, best in zip(points, chosen, strict=True) if best), key=lambda p: (p.cost, p.method))


def pareto(points: Sequence[Point], quality: str, title: str) -> Markup | None:
    """Quality against cost on a logarithmic axis, the front as steps with names; None without points."""
    shown = [p for p in points if p.cost > 0 and math.isfinite(p.cost) and math.isfinite(p.quality)]
    if not shown:
        return None
    costs = [p.cost for p in shown]
    x = Scale(min(costs) / 1.3, max(costs) * 1.6, 52, WIDE - 14, log=True)
    y = Scale(*padded([p.quality for p in shown], 0.08), HIGH - 44, 30)
    best = front(shown)
    steps: list[tuple[float, float]] = []
    for point in best:
        steps += [(x(point.cost), steps[-1][1])] if steps else []
        steps += [(x(point.cost), y(point.quality))]
    steps += [(x.stop, steps[-1][1])]
    parts = [axes(x, y, "device-seconds (logarithmic)", quality), path(steps, "series")]
    for point in shown:
        spoken = element("title", f"{point.method}: {point.quality:.2f} in {point.cost:.0f} s")
        kind = "dot best" if point in best else "dot"
        parts += [element("circle", spoken, cx=x(point.cost), cy=y(point.quality), r=5, class_=kind)]
    places = [(x(p.cost), y(p.quality), p.method) for p in best]
    parts += _names(places, [(x(p.cost), y(p.quality)) for p in shown])
    return figure(WIDE, HIGH, title, *parts)


def _names(places: Sequence[tuple[float, float, str]], dots: Sequence[tuple[float, float]]) -> list[Markup]:
    """The names beside their points, where each covers the fewest dots and names before it."""
    parts, taken = [], list[tuple[float, float, float]]()

    def covered(left: float, right: float, base: float) -> int:
        names = sum(abs(base - b) < 13 and left < r and right > s for s, r, b in taken)
        return 3 * names + sum(left - 5 < x < right + 5 and base - 15 < y < base + 8 for x, y in dots)

    for x, y, name in reversed(places):
        name = clipped(name, 30)
        wide = 6.6 * len(name)
        sides = [left for left in (x + 8, x - 8 - wide, x - wide / 2) if left > 52 and left + wide < WIDE] or [x + 8]
        spots = [(left, y + dy) for dy in (-8, 18, -21, 31, -34, 44) for left in sides if 16 < y + dy < HIGH - 48]
        left, base = min(spots, key=lambda spot: covered(spot[0], spot[0] + wide, spot[1]))
        taken.append((left, left + wide, base))
        parts.append(text(left, base, name, class_="name"))
    return parts


def critical_difference(ranks: Ranks, title: str) -> Markup:
    """Average ranks on a line, best left, bars over methods within one critical difference (Demsar 2006, fig. 1)."""
    count = len(ranks.methods)
    half = (count + 1) // 2
    x = Scale(1, count, 180, WIDE - 180)
    bars_top, row = 66, 20
    first = bars_top + 8 * len(ranks.cliques) + 18
    height = first + row * half + 6
    parts = [line(x.start, 50, x.stop, 50, "axis")]
    for value in x.ticks(min(count - 1, 10) or 1):
        parts += [line(x(value), 44, x(value), 50, "axis"), text(x(value), 38, f"{value:g}", "middle", class_="tick")]
    width = min(ranks.difference, count - 1)
    over = " (wider than the axis)" if ranks.difference > count - 1 else ""
    parts += [
        line(x(1), 16, x(1 + width), 16, "clique"),
        text(x(1), 10, f"CD = {ranks.difference:.2f}{over}", class_="tick"),
    ]
    for k, (low, high) in enumerate(ranks.cliques):
        parts += [line(x(low) - 3, bars_top + 8 * k, x(high) + 3, bars_top + 8 * k, "clique")]
    for k, (method, rank) in enumerate(zip(ranks.methods, ranks.average, strict=True)):
        left = k < half
        y = first + row * (k if left else count - 1 - k)
        edge = x.start - 8 if left else x.stop + 8
        parts += [path([(x(rank), 50), (x(rank), y), (edge, y)], "lead")]
        words = f"{clipped(method, 16)} {rank:.2f}" if left else f"{rank:.2f} {clipped(method, 16)}"
        parts += [text(edge - 4 if left else edge + 4, y + 4, words, "end" if left else "start", class_="name")]
    return figure(WIDE, height, title, *parts)
