"""Resolve a recipe to plain values with origins: protocol, component defaults of its tier, method, --set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ltbench.cell import digest
from ltbench.errors import UnknownName, UserError
from ltbench.plugins import plugins
from ltbench.recipe.draft import Draft
from ltbench.recipe.protocol import merged_protocol, owned_fields, pin_weights
from ltbench.recipe.slots import SLOTS, resolved_slots
from ltbench.recipe.values import content_hash, flatten, suffix
from ltbench.registry import nearest

AXES = {"dataset.imbalance", "protocol.split_seed", "protocol.weights", "seed"}  # printed, never a rename
METHOD_KEYS = {*SLOTS, "datasets", "fidelity", "owns", "protocol"}
DATASET_AXES: dict[str, Any] = {"imbalance": None, "shuffle_labels": False}  # options of every data set


def resolve(
    method: str | Mapping[str, Any],
    dataset: str,
    protocol: str,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Draft, Any]:
    """Merge all layers; returns the draft and the dataset instance. Unknown names raise with nearest matches.

    method: an id, a Python file, or a recipe such as {"generator": "NAME"}. The override "tuned" names a file of
    `ltbench tune`, whose options for this method are a layer above the method's own. An override that changes nothing
    renames nothing, so that it finds the cell that it names.
    """
    overrides = dict(overrides or {})
    file = overrides.pop("tuned", None)
    if file is None:
        whole = partial(resolve_with, {}, method, dataset, protocol, seed)
    else:
        from ltbench.tuned import read_tuned

        whole = partial(read_tuned(file).resolve, method, dataset, protocol, seed)
    found = whole(overrides)
    for key in sorted(overrides):
        rest = {other: value for other, value in overrides.items() if other != key}
        with suppress(UserError):  # without it the cell may not be whole
            less = whole(rest)
            if (less[0].recipe, less[0].weights_path) == (found[0].recipe, found[0].weights_path):
                found, overrides = less, rest
    return found


def resolve_with(
    tuned: Mapping[str, Any],
    method: str | Mapping[str, Any],
    dataset: str,
    protocol: str,
    seed: int,
    overrides: Mapping[str, Any],
) -> tuple[Draft, Any]:
    """`resolve` with tuned options, which rename nothing, as a layer below --set."""
    protocol_id, fields = _load("protocol", protocol)
    method_id, recipe = _load("method", method)
    unknown = set(recipe) - METHOD_KEYS
    if unknown:
        raise UnknownName(f"method {method_id!r} has unknown keys {sorted(unknown)}; known: {sorted(METHOD_KEYS)}")
    seed = overrides.get("seed", seed)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"the seed must be a whole number of at least 0, got {seed!r}")
    per_dataset, search = fields.pop("datasets", {}), fields.pop("search", {})
    parts = _split_overrides(overrides, fields)
    shown_dataset, section, instance = _dataset(dataset, parts["dataset"])
    name = section["name"]
    layers = [
        (f"protocol {protocol_id}", fields),
        (f"protocol {protocol_id}, {name}", per_dataset.get(name, {})),
        (f"method {method_id}", owned_fields(method_id, recipe)),
        (f"dataset {name}", {f"augment.{key}": value for key, value in instance.augment.items()}),
        ("tuned", {k.removeprefix("protocol."): v for k, v in tuned.items() if k.startswith("protocol.")}),
        ("--set", parts["protocol"]),
    ]
    origins = {f"dataset.{key}": "--set" if key in parts["dataset"] else "default" for key in section}
    base = merged_protocol(layers, instance, origins)
    chosen = {key: value for key, value in tuned.items() if not key.startswith("protocol.")}
    slots = resolved_slots(method_id, recipe, name, chosen, parts["method"], base, origins)
    classifier = plugins().registry.get("classifier", slots["classifier"]["name"]).value
    versions: dict[str, int | str] = {f"dataset:{name}": type(instance).version}
    for slot, spec in slots.items():
        while isinstance(spec, dict):
            versions[f"{slot}:{spec['name']}"] = plugins().registry.get(slot, spec["name"]).version
            spec = spec.get("base")
    for key, value in flatten(slots).items():
        if key.endswith("_path") and value and Path(str(value)).exists():
            origins[key] = "--set"
            versions[f"file:{key}"] = content_hash(Path(str(value)))
    weights_path = pin_weights(base)
    axes = AXES - {"protocol.weights"} if base["weights"] == "none" and fields["weights"] != "none" else AXES
    renames = {key: value for key, value in parts["protocol"].items() if f"protocol.{key}" not in axes}
    own_files = not isinstance(method, str) or any(name.endswith(".py") for name in (method, protocol))
    fixed = {key: value for key, value in recipe.get("fidelity", {}).items() if _from_preset(origins.get(key, ""))}
    draft = Draft(
        method=method_id + suffix(parts["method"]),
        dataset=shown_dataset,
        protocol=protocol_id + suffix(renames),
        recipe={"seed": seed, "protocol": base, "dataset": section, **slots},
        origins=origins,
        fidelity=fixed,
        owns={**recipe.get("owns", {}), **dict(classifier.owns)},
        versions=versions,
        standard=not renames and not parts["method"] and not own_files,
        weights_path=weights_path,
        search=search,
    )
    return draft, instance


def _load(kind: str, name: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A protocol or method from the catalogue, from a Python file (mmengine Config, `_base_` allowed) or as it is."""
    if isinstance(name, Mapping):
        return "recipe", copy.deepcopy(dict(name))
    if name.endswith(".py"):
        from mmengine.config import Config

        if not Path(name).is_file():
            raise UserError(f"{kind} file {name!r} does not exist")
        return f"file:{Path(name).stem}", Config.fromfile(name).to_dict()
    component = plugins().registry.get(kind, name)
    return component.id, copy.deepcopy(dict(component.value))


def _split_overrides(overrides: Mapping[str, Any], protocol: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort --set keys into protocol, dataset and method parts; a bare protocol field is accepted."""
    parts: dict[str, dict[str, Any]] = {"protocol": {}, "dataset": {}, "method": {}}
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        if head in ("protocol", "dataset"):
            if not rest:
                raise UserError(f"--set {key}=...: choose a {head} with --{head} {value}")
            parts[head][rest] = value
        elif head in SLOTS:
            parts["method"][key] = value
        elif head in protocol:
            parts["protocol"][key] = value
        elif key != "seed":
            known = [*SLOTS, "dataset.imbalance", "dataset.shuffle_labels", *(f"protocol.{k}" for k in protocol)]
            heads = ", ".join((*SLOTS, "protocol", "dataset"))
            close = nearest(key, known) or nearest(head, [*SLOTS, "protocol", "dataset"])
            raise UnknownName(f"unknown key {key!r} in --set.{close} Keys begin with: {heads}")
    for key in parts["protocol"]:
        if key.partition(".")[0] not in protocol:
            inner = [f" Did you mean protocol.{name}?" for name in flatten(protocol) if name.endswith(f".{key}")]
            close = (inner or [nearest(key, list(protocol))])[0]
            raise UnknownName(f"a protocol has no field {key!r}.{close} It has: {', '.join(sorted(protocol))}")
    return parts


def _dataset(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any], Any]:
    """Display name, resolved section and instance; `folder:PATH` sets the option path."""
    options = dict(options)
    name, colon, path = name.partition(":")
    if colon:
        options["path"] = path
    axes = {key: options.pop(key, default) for key, default in DATASET_AXES.items()}
    if axes["imbalance"] is not None and not (isinstance(axes["imbalance"], (int, float)) and axes["imbalance"] >= 1):
        raise UserError(f"dataset.imbalance must be a ratio of at least 1, got {axes['imbalance']!r}")
    component = plugins().registry.get("dataset", name)
    component.check_options(options)
    shown = {**({"shuffle_labels": True} if axes["shuffle_labels"] else {}), **options}
    tail = component.value.tail_option
    if tail and axes["imbalance"] is not None:
        options[tail] = min(options.get(tail, component.defaults()[tail]), axes["imbalance"])
    instance = component.build(**options)
    section = {"name": component.id, **component.settled({**component.defaults(), **options}), **axes}
    return component.id + "".join(f"+{k}={_short(k, v)}" for k, v in sorted(shown.items())), section, instance


def _short(option: str, value: Any) -> Any:
    """A value in the name of a data set, which becomes a folder: of lists and mappings a hash."""
    if isinstance(value, (list, tuple, dict)):
        return digest(value)[:8]
    return Path(str(value)).name if option == "path" else value


def _from_preset(origin: str) -> bool:
    """Whether a value is the method's own, so that its fidelity holds: neither a tier's, nor tuned, nor the user's."""
    return not origin.startswith(("tier", "tuned", "--set"))
