"""Conformance of search spaces, of components and protocols alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ltbench.recipe import NESTED
from ltbench.registry import Component
from ltbench.search import Space
from ltbench.testing.tiny import tiny_options
from ltbench.testing.tools import require


def check_search(component: Component) -> Iterator[str]:
    """SEARCH names options, each default lies inside its space, and the component can be built at both ends."""
    defaults, spaces = component.defaults(), component.search()
    for option, raw in spaces.items():
        space = Space.of(raw, f"SEARCH of {component.kind} {component.id}, option {option}", defaults.get(option))
        default = defaults.get(option)
        require(space.holds(default), f"the default {option}={default!r} lies outside of its search space {space}")
        for value in space.values:
            component.build(**_without_name(tiny_options(component.kind, component.id, **{option: value})))
    if spaces:
        yield f"search spaces of {', '.join(spaces)} hold their defaults"


def check_protocol_search(fields: Mapping[str, Any]) -> Iterator[str]:
    """Its "search" names fields of the protocol; each value lies inside its space."""
    for field, raw in fields.get("search", {}).items():
        head, _, rest = field.partition(".")
        known = head in fields and (not rest or rest in NESTED.get(head, ()))
        require(known, f'"search" names {field!r}, which no protocol has')
        value = fields[head].get(rest) if rest else fields[head]
        if value:
            space = Space.of(raw, f'"search", field {field}', value)
            require(space.holds(value), f"the value {field}={value!r} lies outside of its search space {space}")
    if fields.get("search"):
        yield f"search spaces of {', '.join(fields['search'])} hold their values"


def _without_name(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "name"}
