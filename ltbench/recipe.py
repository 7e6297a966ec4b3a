"""Resolve a recipe to plain values with origins: protocol, component defaults of its tier, method, --set."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.cell import Cell, cell_hash
from ltbench.errors import UnknownName, UserError
from ltbench.plugins import plugins
from ltbench.registry import Component, nearest

if TYPE_CHECKING:
    from ltbench.tuned import Tuned

__all__ = ["Draft", "cell_hash", "parse_set", "resolve"]

SLOTS = ("classifier", "loss", "sampler", "generator")
AXES = {"dataset.imbalance", "protocol.split_seed", "protocol.weights", "seed"}  # printed, never a rename
CHOICES = {"tier": ("tiny", "base", "paper"), "precision": ("float32", "bf16")}
NESTED = {
    "optimizer": ("name", "lr", "momentum", "weight_decay"),
    "schedule": ("name", "warmup", "at", "gamma"),
    "augment": ("flip", "vertical_flip", "rotation", "shift", "crop", "brightness", "contrast"),
}
WHOLE = {"epochs": 1, "batch_size": 2, "image_size": 8, "stored_size": 8, "split_seed": 0, "max_train": 1}  # -> least
SELECT = (
    "macro_f1",
    "balanced_accuracy",
    "accuracy",
    "mcc",
    "auc",
    "quadratic_kappa",
    "macro_precision",
    "macro_recall",
    "weighted_recall",
    "macro_specificity",
)
METHOD_KEYS = {*SLOTS, "datasets", "fidelity", "owns", "protocol"}


DATASET_AXES: dict[str, Any] = {"imbalance": None, "shuffle_labels": False}  # options of every data set


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
    versions: dict[str, int | str]
    standard: bool
    weights_path: str | None = None
    notes: list[str] = field(default_factory=list)
    search: Mapping[str, Any] = field(default_factory=dict)
    tuned: Tuned | None = None

    @property
    def seed(self) -> int:
        """Seed of everything but the split and the fits."""
        return self.recipe["seed"]

    def freeze(self, *, n_train: int, content: str) -> Cell:
        """Settle what depends on the data (epochs) and freeze; `content` is the hash of the data in use.

        UserError where the recipe was tuned on other data or with other versions.
        """
        tuning: dict[str, Any] = {}
        if self.tuned is not None:
            tuning = self.tuned.checked(lambda draft: draft.freeze(n_train=n_train, content=content))
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
            **tuning,
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
    if isinstance(full.get("base"), Mapping) and "name" not in full["base"]:  # options of the base that stands there
        below: Any = {**component.defaults(), **tiers.get(tier, {})}.get("base")
        full["base"] = {**({"name": below} if isinstance(below, str) else below), **full["base"]}
    if isinstance(full.get("base"), (str, Mapping)):
        full["base"] = _component(kind, full["base"], tier, origins[f"{key}.base"], f"{key}.base", origins)
    origins[f"{key}.name"] = origin
    return {"name": component.id, **component.settled(full)}


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
            heads = ", ".join((*SLOTS, "protocol", "dataset"))
            close = nearest(key, known) or nearest(head, [*SLOTS, "protocol", "dataset"])
            raise UnknownName(f"unknown key {key!r} in --set.{close} Keys begin with: {heads}")
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
    suffix = "".join(f"+{k}={Path(str(v)).name if k == 'path' else v}" for k, v in sorted(shown.items()))
    return component.id + suffix, {"name": component.id, **component.defaults(), **options, **axes}, instance


def resolve(
    method: str | Mapping[str, Any],
    dataset: str,
    protocol: str,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Draft, Any]:
    """Merge all layers; returns the draft and the dataset instance. Unknown names raise with nearest matches.

    method: an id, a Python file, or a recipe such as {"generator": "NAME"}. The override "tuned" names a file of
    `ltbench tune`, whose options for this method are a layer above the method's own.
    """
    overrides = dict(overrides or {})
    file = overrides.pop("tuned", None)
    if file is None:
        return resolve_with({}, method, dataset, protocol, seed, overrides)
    from ltbench.tuned import read_tuned

    return read_tuned(file).resolve(method, dataset, protocol, seed, overrides)


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
        (f"method {method_id}", _owned(method_id, recipe)),
        (f"dataset {name}", {f"augment.{key}": value for key, value in instance.augment.items()}),
        ("tuned", {k.removeprefix("protocol."): v for k, v in tuned.items() if k.startswith("protocol.")}),
        ("--set", parts["protocol"]),
    ]
    origins = {f"dataset.{key}": "--set" if key in parts["dataset"] else "default" for key in section}
    base = _protocol(layers, instance, origins)
    chosen = {key: value for key, value in tuned.items() if not key.startswith("protocol.")}
    slots = _slots(method_id, recipe, name, chosen, parts["method"], base, origins)
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
    weights_path = _weights(base)
    axes = AXES - {"protocol.weights"} if base["weights"] == "none" and fields["weights"] != "none" else AXES
    renames = {key: value for key, value in parts["protocol"].items() if f"protocol.{key}" not in axes}
    own_files = not isinstance(method, str) or any(name.endswith(".py") for name in (method, protocol))
    fixed = {key: value for key, value in recipe.get("fidelity", {}).items() if _from_preset(origins.get(key, ""))}
    draft = Draft(
        method=method_id + _suffix(parts["method"]),
        dataset=shown_dataset,
        protocol=protocol_id + _suffix(renames),
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


def _from_preset(origin: str) -> bool:
    """Whether a value is the method's own, so that its fidelity holds: neither a tier's, nor tuned, nor the user's."""
    return not origin.startswith(("tier", "tuned", "--set"))


def _owned(method: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol fields a method fixes; each must be declared in its `owns`."""
    fixed = flatten(recipe.get("protocol", {}))
    for key in fixed:
        if key.partition(".")[0] not in recipe.get("owns", {}):
            raise UserError(f"method {method!r} sets protocol field {key!r} without declaring it in `owns`")
    return fixed


def _protocol(layers: list[tuple[str, Mapping[str, Any]]], dataset: Any, origins: dict[str, str]) -> dict[str, Any]:
    """The protocol's fields with all layers applied and the rules by size settled."""
    base: dict[str, Any] = {}
    for origin, layer in layers:
        for key, value in layer.items():
            _assign(base, key, copy.deepcopy(value))
            origins |= {f"protocol.{k}": origin for k in (key, *flatten({key: value}))}  # the key itself: for rules
    base["image_size"] = _image_size(base["image_size"], dataset.native_size)
    base["stored_size"] = base["stored_size"] or base["image_size"]
    base["split"] = base["split"] or dataset.scheme
    settled = {key: _by_size(value, base["image_size"]) for key, value in base.items()}
    _check_protocol(settled)
    return settled


def _check_protocol(protocol: Mapping[str, Any]) -> None:
    """Raise UserError for values that no training can use."""
    for name, least in WHOLE.items():
        value = protocol[name]
        if isinstance(value, Mapping) or (name == "max_train" and value is None):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"protocol.{name} must be a whole number of at least {least}, got {value!r}")
    for name, known in CHOICES.items():
        if protocol[name] not in known:
            raise UserError(f"protocol.{name} must be one of {', '.join(known)}, got {protocol[name]!r}")
    for name, known in NESTED.items():
        for key in protocol[name]:
            if key not in known:
                close = nearest(key, list(known))
                raise UnknownName(f"protocol.{name} has no field {key!r}.{close} It has: {', '.join(known)}")
    rate = protocol["optimizer"]["lr"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        raise UserError(f"protocol.optimizer.lr must be a number above 0, got {rate!r}")
    if protocol["select"] not in SELECT:
        close = nearest(str(protocol["select"]), list(SELECT))
        raise UserError(f"protocol.select {protocol['select']!r} is unknown.{close} One of: {', '.join(SELECT)}")


def _slots(
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
        _assign(given, key, value)
    for key, value in tuned.items():
        _assign(given, key, value)
    for key, value in sorted(overrides.items(), key=lambda item: item[0].count(".")):
        slot, dot, _ = key.partition(".")
        if dot and given[slot] is None:
            raise UserError(f"--set {key}: method {method!r} has no {slot}; set it first: --set {slot}=NAME")
        _assign(given, key, value)
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


def content_hash(path: Path) -> str:
    """sha256 over a file, or over the names and contents of a folder's files."""
    from ltbench.cell import digest
    from ltbench.results.files import sha256

    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    return digest([(f.relative_to(path).as_posix(), sha256(f)) for f in files])


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
