"""The components of a recipe, each with every option."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.plugins import plugins
from ltbench.recipe.values import assign
from ltbench.registry import Component

SLOTS = ("classifier", "loss", "sampler", "generator")


def resolved_slots(
    method: str,
    recipe: Mapping[str, Any],
    dataset: str,
    tuned: Mapping[str, Any],
    overrides: Mapping[str, Any],
    protocol: Mapping[str, Any],
    origins: dict[str, str],
) -> dict[str, Any]:
    """Every slot resolved to {name, all options}, or None where it is empty."""
    given = {slot: copy.deepcopy(recipe.get(slot)) for slot in SLOTS}
    given["classifier"] = given["classifier"] or "standard"
    given["sampler"] = given["sampler"] or "instance"
    for key, value in recipe.get("datasets", {}).get(dataset, {}).items():
        assign(given, key, value)
    for key, value in tuned.items():
        assign(given, key, value)
    for key, value in sorted(overrides.items(), key=lambda item: item[0].count(".")):
        slot, dot, _ = key.partition(".")
        if dot and given[slot] is None:
            raise UserError(f"--set {key}: method {method!r} has no {slot}; set it first: --set {slot}=NAME")
        assign(given, key, value)
    name = _name(given["classifier"])
    allowed = {"classifier", "sampler", "generator", *plugins().registry.get("classifier", name).value.slots}
    for slot in (slot for slot, spec in given.items() if spec is not None and slot not in allowed):
        raise UserError(f"classifier {name!r} does not use the slot {slot!r}; it uses: {', '.join(sorted(allowed))}")
    resolved = {
        slot: spec if spec is None else _component(slot, spec, protocol["tier"], f"method {method}", slot, origins)
        for slot, spec in given.items()
    }
    origins |= dict.fromkeys(tuned, "tuned")
    origins |= {f"{key}.name" if f"{key}.name" in origins else key: "--set" for key in overrides}
    _references(resolved, protocol)
    return resolved


def _component(kind: str, spec: Any, tier: str, origin: str, key: str, origins: dict[str, str]) -> dict[str, Any]:
    """{name, every option with its value}; nested `base` components are resolved likewise."""
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    component: Component = plugins().registry.get(kind, given.pop("name"))
    component.check_options_names(given)
    tiers = getattr(component.value, "TIERS", {})
    layers = [("default", component.defaults()), (f"tier {tier}", dict(tiers.get(tier, {}))), (origin, given)]
    full: dict[str, Any] = {}
    for source, layer in layers:
        for name, value in layer.items():
            full[name] = value
            origins[f"{key}.{name}"] = source
    if isinstance(full.get("base"), Mapping) and "name" not in full["base"]:  # options of the base that stands there
        below: Any = {**component.defaults(), **tiers.get(tier, {})}.get("base")
        if below is None:
            option = next(iter(full["base"]))
            raise UserError(f"{key}.base.{option}: {component.id} has no base; set it first: --set {key}.base=NAME")
        full["base"] = {**({"name": below} if isinstance(below, str) else below), **full["base"]}
    if isinstance(full.get("base"), (str, Mapping)):
        full["base"] = _component(kind, full["base"], tier, origins[f"{key}.base"], f"{key}.base", origins)
    origins[f"{key}.name"] = origin
    return {"name": component.id, **component.settled(full)}


def _references(tree: dict[str, Any], protocol: Mapping[str, Any]) -> None:
    """Replace "@protocol.FIELD" by the protocol's value, in place."""
    for key, value in tree.items():
        if isinstance(value, dict):
            _references(value, protocol)
        elif isinstance(value, str) and value.startswith("@protocol."):
            tree[key] = protocol[value.removeprefix("@protocol.")]


def _name(spec: Any) -> str:
    return spec if isinstance(spec, str) else spec["name"]
