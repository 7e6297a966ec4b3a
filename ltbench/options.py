"""Checks of component options: each returns the value or raises UserError naming option, value seen and what fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ltbench.errors import UserError


def _refuse(option: str, want: str, value: Any, example: Any) -> UserError:
    hint = "" if example is None else f"; for example --set {option}={example}"
    return UserError(f"{option} must be {want}, got {value!r}{hint}")


def number(
    option: str, value: Any, low: float = 0.0, high: float = math.inf, *, ends: str = "[)", example: Any = None
) -> float:
    """A finite number within low..high; ends: "[" and "]" include the bound, "(" and ")" leave it out."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    above = real and (value >= low if ends[0] == "[" else value > low)
    below = real and (value <= high if ends[1] == "]" else value < high)
    if not (above and below):
        least = f"{'of at least' if ends[0] == '[' else 'above'} {low:g}"
        most = f" and {'at most' if ends[1] == ']' else 'below'} {high:g}" if high < math.inf else ""
        raise _refuse(option, f"a number {least}{most}", value, example)
    return float(value)


def whole(option: str, value: Any, low: int = 0, high: float = math.inf, *, example: Any = None) -> int:
    """A whole number of at least low and at most high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        most = f" and at most {high:g}" if high < math.inf else ""
        raise _refuse(option, f"a whole number of at least {low}{most}", value, example)
    return value


def choice(option: str, value: Any, known: Sequence[Any]) -> Any:
    """One of the known values."""
    if value not in known:
        raise _refuse(option, "one of " + ", ".join(map(str, known)), value, None)
    return value


def wholes(option: str, value: Any, low: int = 1, *, example: Any = None) -> list[int]:
    """A list of at least one whole number, each of at least low."""
    fits = isinstance(value, (list, tuple)) and len(value) > 0
    if not fits or not all(isinstance(v, int) and not isinstance(v, bool) and v >= low for v in value):
        raise _refuse(option, f"a list of whole numbers of at least {low}", value, example)
    return list(value)
