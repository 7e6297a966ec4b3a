"""Resolve a recipe to plain values with origins: protocol, component defaults of its tier, method, --set."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltbench.cell import Cell, cell_hash
from ltbench.errors import UnknownName, UserError
from ltbench.plugins import plugins
from ltbench.registry import Component, nearest

__all__ = ["Draft", "cell_hash", "parse_set", "resolve"]

SLOTS = ("classifier", "loss", "sampler", "generator")
AXES = {"dataset.imbalance", "protocol.split_seed", "protocol.weights", "seed"}  # printed, never a rename
METHOD_KEYS = {*SLOTS, "datasets", "fidelity", "owns", "protocol"}


def parse_set(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE texts -> values: numbers, true/false/none, lists; everything else stays a string."""
    words = {"true": True, "false": False, "none": None, "null": None}
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set needs KEY=VALUE, got {pair!r}; for example --set protocol.epochs=5")
        try:
            result[key] = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            result[key] = text
    return result


@dataclass
class Draft:
    """A recipe whose names and options are resolved, waiting for the facts of the data."""

    method: str
    dataset: str
    protocol: str
    recipe: dict[str, Any]
    origins: dict[str, str]
    fidelity: dict[str, str]
    owns: dict[str, str]
    versions: dict[str, int]
    standard: bool
    weights_path: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Seed of everything but the split and the fits."""
        return self.recipe["seed"]

    def freeze(self, *, n_train: int, content: str) -> Cell:
        """Settle what depends on the data (epochs) and freeze; `content` is the hash of the data in use."""
        recipe = copy.deepcopy(self.recipe)
        rule = recipe["protocol"]["epochs"]
        if isinstance(rule, Mapping):
            recipe["protocol"]["epochs"] = int(min(max(round(rule["images"] / n_train), rule["min"]), rule["max"]))
        return Cell.create(
            method=self.method,
            dataset=self.dataset,
            protocol=self.protocol,
            seed=self.seed,
            recipe=recipe,
            versions=self.versions,
            data=content,
            fidelity=self.fidelity,
            owns=self.owns,
            assumed=self.fidelity.get("method") == "assumed",
            standard=self.standard,
        )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _load(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """A protocol or method from the catalogue, or from a Python file (mmengine Config, `_base_` allowed)."""
    if name.endswith(".py"):
        from mmengine.config import Config

        if not Path(name).is_file():
            raise UserError(f"{kind} file {name!r} does not exist")
        return Path(name).stem, Config.fromfile(name).to_dict()
    component = plugins().registry.get(kind, name)
    return component.id, copy.deepcopy(dict(component.value))


def _by_size(value: Any, size: int) -> Any:
    """A rule {"by_size": [[16, a], [None, b]]} -> the value of the first bound that holds."""
    if isinstance(value, Mapping) and "by_size" in value:
        return next(v for bound, v in value["by_size"] if bound is None or size <= bound)
    return value


def _image_size(rule: Any, native: int | None) -> int:
    if isinstance(rule, Mapping):
        fits = native is not None and native <= rule["native_up_to"]
        return -(-native // 8) * 8 if fits and native else int(rule["otherwise"])
    return int(rule)


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
    if isinstance(full.get("base"), (str, Mapping)):
        full["base"] = _component(kind, full["base"], tier, origins[f"{key}.base"], f"{key}.base", origins)
    origins[f"{key}.name"] = origin
    return {"name": component.id, **full}


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; a component id on the way becomes {name: id}."""
    *path, last = key.split(".")
    for part in path:
        step = tree.get(part)
        if isinstance(step, str):
            tree[part] = {"name": step}
        elif not isinstance(step, dict):
            tree[part] = {}
        tree = tree[part]
    tree[last] = value


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
            raise UnknownName(f"unknown key {key!r} in --set.{nearest(key, known)} Keys begin with: {', '.join(SLOTS)}, "
                              "protocol, dataset")
    for key in parts["protocol"]:
        if key.partition(".")[0] not in protocol:
            raise UnknownName(f"a protocol has no field {key!r}.{nearest(key, list(protocol))}")
    return parts


def _dataset(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any], Any]:
    """Display name, resolved section and instance; `folder:PATH` sets the option path."""
    options = dict(options)
    name, colon, path = name.partition(":")
    if colon:
        options["path"] = path
    axes = {"imbalance": options.pop("imbalance", None), "shuffle_labels": options.pop("shuffle_labels", False)}
    if axes["imbalance"] is not None and not (isinstance(axes["imbalance"], (int, float)) and axes["imbalance"] >= 1):
        raise UserError(f"dataset.imbalance must be a ratio of at least 1, got {axes['imbalance']!r}")
    component = plugins().registry.get("dataset", name)
    component.check_options(options)
    instance = component.build(**options)
    shown = {**({"shuffle_labels": True} if axes["shuffle_labels"] else {}), **options}
    suffix = "".join(f"+{k}={Path(str(v)).name if k == 'path' else v}" for k, v in sorted(shown.items()))
    return component.id + suffix, {"name": component.id, **component.defaults(), **options, **axes}, instance


def resolve(
    method: str, dataset: str, protocol: str, seed: int = 0, overrides: Mapping[str, Any] | None = None
) -> tuple[Draft, Any]:
    """Merge all layers; returns the draft and the dataset instance. Unknown names raise with nearest matches."""
    overrides = dict(overrides or {})
    protocol_id, base = _load("protocol", protocol)
    method_id, recipe = _load("method", method)
    unknown = set(recipe) - METHOD_KEYS
    if unknown:
        raise UnknownName(f"method {method_id!r} has unknown keys {sorted(unknown)}; known: {sorted(METHOD_KEYS)}")
    seed = overrides.get("seed", seed)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"the seed must be a whole number of at least 0, got {seed!r}")
    per_dataset = base.pop("datasets", {})
    parts = _split_overrides(overrides, base)
    shown_dataset, data_section, instance = _dataset(dataset, parts["dataset"])
    origins = {f"protocol.{k}": f"protocol {protocol_id}" for k in flatten(base)}
    origins |= {f"dataset.{k}": "--set" if k in parts["dataset"] else "default" for k in data_section}

    for key, value in per_dataset.get(data_section["name"], {}).items():
        _assign(base, key, value)
        origins[f"protocol.{key}"] = f"protocol {protocol_id}, {data_section['name']}"
    owns = dict(recipe.get("owns", {}))
    for key, value in flatten(recipe.get("protocol", {})).items():
        if key.partition(".")[0] not in owns:
            raise UserError(f"method {method_id!r} sets protocol field {key!r} without declaring it in `owns`")
        _assign(base, key, value)
        origins[f"protocol.{key}"] = f"method {method_id}"
    if instance.augment:
        base["augment"] = {**base["augment"], **instance.augment}
        origins |= {f"protocol.augment.{k}": f"dataset {data_section['name']}" for k in instance.augment}
    for key, value in parts["protocol"].items():
        _assign(base, key, value)
        origins[f"protocol.{key}"] = "--set"
    base["image_size"] = _image_size(base["image_size"], instance.native_size)
    base["stored_size"] = base["stored_size"] or base["image_size"]
    base = {k: _by_size(v, base["image_size"]) for k, v in base.items()}
    base["split"] = base["split"] or instance.scheme

    slots: dict[str, Any] = {k: recipe.get(k) for k in SLOTS}
    slots["classifier"] = slots["classifier"] or "standard"
    slots["sampler"] = slots["sampler"] or "instance"
    given: dict[str, Any] = {k: v for k, v in slots.items() if v is not None}
    for key, value in recipe.get("datasets", {}).get(data_section["name"], {}).items():
        _assign(given, key, value)
    for key, value in sorted(parts["method"].items(), key=lambda item: item[0].count(".")):
        if "." in key and given.get(key.partition(".")[0]) is None:
            raise UserError(f"--set {key}: method {method_id!r} has no {key.partition('.')[0]}; set it first, "
                            f"for example --set {key.partition('.')[0]}=NAME")
        _assign(given, key, value)
    given = {k: v for k, v in given.items() if v is not None}
    classifier = plugins().registry.get("classifier", _name(given["classifier"])).value
    allowed = {"classifier", "sampler", "generator"} | set(classifier.slots)
    for slot in given:
        if slot not in allowed:
            raise UserError(
                f"classifier {_name(given['classifier'])!r} does not use the slot {slot!r}; "
                f"it uses: {', '.join(sorted(allowed))}"
            )
    resolved = {
        slot: _component(slot, given[slot], base["tier"], f"method {method_id}", slot, origins) if slot in given else None
        for slot in SLOTS
    }
    for key in parts["method"]:
        origins[key if "." in key else f"{key}.name"] = "--set"
    _references(resolved, base)
    versions = {f"dataset:{data_section['name']}": type(instance).version}
    for slot, section in resolved.items():
        while isinstance(section, dict):
            versions[f"{slot}:{section['name']}"] = plugins().registry.get(slot, section["name"]).version
            section = section.get("base")
    weights_path = _weights(base)
    renames = {k: v for k, v in parts["protocol"].items() if f"protocol.{k}" not in AXES}
    return (
        Draft(
            method=method_id + _suffix(parts["method"]),
            dataset=shown_dataset,
            protocol=protocol_id + _suffix(renames),
            recipe={"seed": seed, "protocol": base, "dataset": data_section, **resolved},
            origins=origins,
            fidelity=dict(recipe.get("fidelity", {})),
            owns={**owns, **dict(classifier.owns)},
            versions=versions,
            standard=not renames and not parts["method"],
            weights_path=weights_path,
        ),
        instance,
    )


def _name(spec: Any) -> str:
    return spec if isinstance(spec, str) else spec["name"]


def _suffix(changes: Mapping[str, Any]) -> str:
    return "".join(f"+{key}={Path(str(value)).name}" for key, value in sorted(changes.items()))


def _references(tree: dict[str, Any], protocol: Mapping[str, Any]) -> None:
    """Replace "@protocol.FIELD" by the protocol's value, in place."""
    for key, value in tree.items():
        if isinstance(value, dict):
            _references(value, protocol)
        elif isinstance(value, str) and value.startswith("@protocol."):
            tree[key] = protocol[value.removeprefix("@protocol.")]


def _weights(protocol: dict[str, Any]) -> str | None:
    """Replace a weights path by its name and hash, which belong to the protocol; returns the path."""
    weights = protocol["weights"]
    if weights in ("none", "timm") or weights is None:
        protocol["weights"] = weights or "none"
        return None
    path = Path(str(weights))
    if not path.is_file():
        raise UserError(
            f"weights file {weights!r} does not exist; give a .safetensors file with --set weights=PATH, "
            "'timm' to download, or 'none'"
        )
    from ltbench.results.files import sha256

    protocol["weights"] = f"{path.name}@{sha256(path)[:12]}"
    return str(path)

