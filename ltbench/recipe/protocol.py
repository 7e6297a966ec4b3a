"""The protocol of a recipe: its layers merged, rules by size settled, every value checked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltbench.errors import UnknownName, UserError
from ltbench.recipe.values import assign, flatten
from ltbench.registry import nearest

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


def merged_protocol(
    layers: list[tuple[str, Mapping[str, Any]]], dataset: Any, origins: dict[str, str]
) -> dict[str, Any]:
    """The protocol's fields with all layers applied and the rules by size settled."""
    base: dict[str, Any] = {}
    for origin, layer in layers:
        for key, value in layer.items():
            assign(base, key, copy.deepcopy(value))
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


def owned_fields(method: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol fields a method fixes; each must be declared in its `owns`."""
    fixed = flatten(recipe.get("protocol", {}))
    for key in fixed:
        if key.partition(".")[0] not in recipe.get("owns", {}):
            raise UserError(f"method {method!r} sets protocol field {key!r} without declaring it in `owns`")
    return fixed


def pin_weights(protocol: dict[str, Any]) -> str | None:
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
