"""Inline SVG: escaped elements, axes, ticks; colours come from the style sheet by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup, escape


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """One element; escaped; `class_` is class, `text_anchor` is text-anchor, and None is left out."""
    shown = "".join(
        f' {name if name == "viewBox" else name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{shown}>{''.join(map(escape, children))}</{tag}>")


def figure(width: float, height: float, title: str, *children: Markup) -> Markup:
    """A picture with a spoken title."""
    box = f"0 0 {width:g} {height:g}"
    return element(
        "svg", *children, class_="chart", viewBox=box, width=width, height=height, role="img", aria_label=title
    )


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: object) -> Markup:
    """Words at a place."""
    return element("text", words, x=x, y=y, text_anchor=None if anchor == "start" else anchor, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through the points, broken where a coordinate is not finite."""
    steps, pen = [], "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        steps.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return element("path", d="".join(steps), class_=class_)


def clipped(words: str, length: int) -> str:
    """At most `length` characters."""
    return words if len(words) <= length else words[: length - 1] + "…"


@dataclass(frozen=True)
class Scale:
    """Data in [low, high] to pixels in [start, stop], on a logarithmic axis where `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.stop - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the range."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1,), (1, 3), (1, 2, 5)):
                found = [d * 10.0**k for k in decades for d in digits if self.low <= d * 10.0**k <= self.high]
                if len(found) >= 3:
                    break
            return found
        span = (self.high - self.low) or 1.0
        rough = span / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.05) -> tuple[float, float]:
    """The range of the finite values, a little wider; (0, 1) where there is none."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    pad = share * (high - low) or 0.05 * abs(high) or 0.5
    return low - pad, high + pad


@lru_cache(maxsize=64)
def axes(x: Scale, y: Scale, x_title: str, y_title: str) -> Markup:
    """Grid, ticks and titles of a plane."""
    parts = []
    for value in y.ticks():
        parts += [line(x.start, y(value), x.stop, y(value), "grid")]
        parts += [text(x.start - 6, y(value) + 4, number(value), "end", class_="tick")]
    for value in x.ticks():
        parts += [line(x(value), y.start, x(value), y.start + 4, "axis")]
        parts += [text(x(value), y.start + 17, number(value), "middle", class_="tick")]
    parts += [line(x.start, y.start, x.stop, y.start, "axis")]
    parts += [text((x.start + x.stop) / 2, y.start + 34, x_title, "middle", class_="label")]
    parts += [text(x.start - 6, y.stop - 10, y_title, class_="label")]
    return Markup("").join(parts)


def number(value: float) -> str:
    """A short form."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(escape(value))
