"""Search spaces: what of a method may be tuned, as plain data on components and protocols, and the trials drawn.

A component's class carries SEARCH, option -> space; a protocol has the entry "search", field -> space. A space is
("log", low, high), ("linear", low, high), ("int", low, high), ("choice", [a, b, ...]) or ("times", low, high), which is
log-uniform between these multiples of the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ltbench.errors import PluginError
from ltbench.plugins import plugins

if TYPE_CHECKING:
    from ltbench.recipe import Draft

KINDS = ("log", "linear", "int", "choice", "times")


@dataclass(frozen=True)
class Space:
    """What one option may be: `values` are the two ends, both included, or the choices."""

    kind: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, raw: Any, where: str, default: Any = None) -> Space:
        """Read plain data; PluginError naming `where` for what is no space. default: what "times" multiplies."""
        kind, *rest = raw if isinstance(raw, Sequence) and not isinstance(raw, str) and raw else (None,)
        if kind == "choice" and len(rest) == 1 and isinstance(rest[0], (list, tuple)) and len(rest[0]) > 1:
            return cls(kind, tuple(rest[0]))
        numbers = len(rest) == 2 and all(map(_finite, rest)) and rest[0] < rest[1]
        fits = {"log": numbers and rest[0] > 0, "linear": numbers, "times": numbers and rest[0] > 0}
        fits["int"] = numbers and all(isinstance(value, int) for value in rest)
        if not fits.get(str(kind)):
            raise PluginError(
                f'{where}: {raw!r} is no search space; write ("log", low, high), ("linear", low, high), '
                '("int", low, high), ("choice", [a, b]) or ("times", low, high)'
            )
        if kind != "times":
            return cls(str(kind), tuple(rest))
        if not _finite(default) or default <= 0:
            raise PluginError(f'{where}: "times" needs a default above 0, got {default!r}')
        return cls("log", tuple(default * factor for factor in rest))

    def holds(self, value: Any) -> bool:
        """Whether a value lies inside."""
        if self.kind == "choice":
            return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.values)
        whole = self.kind != "int" or isinstance(value, int)
        return _finite(value) and whole and self.values[0] <= value <= self.values[1]

    def at(self, u: float) -> Any:
        """The value at u in [0, 1) of the space, three significant digits."""
        if self.kind == "choice":
            return self.values[int(u * len(self.values))]
        low, high = self.values
        if self.kind == "int":
            return low + int(u * (high - low + 1))
        value = low + u * (high - low) if self.kind == "linear" else low * (high / low) ** u
        return min(max(float(f"{value:.3g}"), low), high)

    def __str__(self) -> str:
        if self.kind == "choice":
            return "one of " + ", ".join(map(str, self.values))
        return f"{self.values[0]:g} to {self.values[1]:g}{', log' if self.kind == 'log' else ''}"


def open_options(draft: Draft) -> dict[str, Space]:
    """Key of --set -> space, of everything that may be tuned in a resolved recipe; the protocol's fields come first.

    A field that the method owns stays, and so does a value that --set gave, or that the method or the tier put outside
    of the space: it is what the method is.
    """
    spaces: dict[str, Space] = {}
    protocol = draft.recipe["protocol"]
    for field, raw in draft.search.items():
        head, _, rest = field.partition(".")
        value = protocol.get(head)
        value = value.get(rest) if rest and isinstance(value, Mapping) else value
        owned = {head, field} & set(draft.owns)
        if not owned and value is not None and not (list(raw)[:1] == ["times"] and not value):
            _add(spaces, draft, f"protocol.{field}", raw, value)
    for slot in ("classifier", "loss", "sampler", "generator"):
        _add_component(spaces, draft, slot, slot, draft.recipe[slot])
    return spaces


def _add_component(spaces: dict[str, Space], draft: Draft, kind: str, path: str, spec: Any) -> None:
    if not isinstance(spec, Mapping):
        return
    component = plugins().registry.get(kind, spec["name"])
    values = {**component.defaults(), **spec}
    for option, raw in component.search().items():
        _add(spaces, draft, f"{path}.{option}", raw, values[option])
    _add_component(spaces, draft, kind, f"{path}.base", spec.get("base"))


def _add(spaces: dict[str, Space], draft: Draft, key: str, raw: Any, value: Any) -> None:
    space = Space.of(raw, key, value)
    parts = key.split(".")
    given = any(draft.origins.get(".".join(parts[:n])) == "--set" for n in range(2, len(parts) + 1))
    if space.holds(value) and not given:
        spaces[key] = space


def draws(spaces: Mapping[str, Space], trials: int, seed: int) -> list[dict[str, Any]]:
    """Options of each trial: {} (the defaults), then points of a scrambled Halton sequence.

    A trial depends on the seed, its number and the keys before it, neither on how many trials nor on which methods
    there are: methods of one protocol try the same values of its fields, and more trials continue fewer.
    """
    from scipy.stats import qmc

    if trials == 1:
        return [{}]
    import numpy as np

    points = qmc.Halton(len(spaces), scramble=True, seed=np.random.default_rng(seed)).random(trials - 1)
    return [{}, *({key: space.at(u) for (key, space), u in zip(spaces.items(), row, strict=True)} for row in points)]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
