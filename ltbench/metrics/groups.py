"""Many / medium / few: groups of classes by their number of real training images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ltbench.errors import ContractError

NAMES = ("many", "medium", "few")
PRESETS: Mapping[str, Mapping[str, Any]] = {"breast_lt8": {"scheme": "rank", "sizes": (2, 4, 2)}}

KEYS = {"thresholds": ("many", "few"), "rank": ("sizes",), "explicit": NAMES}

Groups = str | Mapping[str, Any]


def class_groups(
    train_counts: np.ndarray | None, num_classes: int, groups: Groups | None = None
) -> dict[str, np.ndarray] | None:
    """Group name -> class indices int64, or None where the groups need counts (C,) and there are none.

    groups: None = many n > 100, few n < 20 (Liu et al. 2019), {"scheme": "thresholds", "many": 100, "few": 20},
    {"scheme": "rank", "sizes": [2, 4, 2]} (by falling count, ties to the lower index), {"many": [...],
    "medium": [...], "few": [...]}, or the name of a preset. Raises ContractError for groups that do not fit.
    """
    if isinstance(groups, str):
        if groups not in PRESETS:
            raise ContractError(f"unknown class groups {groups!r}; presets are {', '.join(sorted(PRESETS))}")
        groups = PRESETS[groups]
    if not isinstance(groups, Mapping | None):
        raise ContractError(f"class groups must be a mapping or the name of a preset, got {groups!r}")
    spec = dict(groups or {})
    scheme = spec.pop("scheme", "explicit" if set(spec) & {"medium"} or _lists(spec) else "thresholds")
    if not isinstance(scheme, str) or scheme not in KEYS:
        raise ContractError(f"unknown group scheme {scheme!r}; use thresholds, rank or lists of class indices")
    unknown = sorted(set(map(str, spec)) - set(KEYS[scheme]))
    if unknown:
        raise ContractError(f"unknown group {unknown[0]!r}; {scheme} groups have {', '.join(KEYS[scheme])}")
    if scheme == "explicit":
        return _explicit(spec, num_classes)
    if train_counts is None:
        return None
    counts = checked_counts(train_counts, num_classes)
    if scheme == "rank":
        sizes = _whole(spec.get("sizes", ()))
        if len(sizes) != 3 or min(sizes) < 0 or sum(sizes) != num_classes:
            raise ContractError(f"rank groups need three sizes that sum to {num_classes} classes, got {sizes.tolist()}")
        order = np.argsort(-counts, kind="stable")
        return dict(zip(NAMES, np.split(order, np.cumsum(sizes)[:2]), strict=True))
    many, few = spec.get("many", 100), spec.get("few", 20)
    if not (isinstance(many, int | float) and isinstance(few, int | float) and few <= many):
        raise ContractError(f"group thresholds need few <= many, got few={few}, many={many}")
    return {
        "many": np.flatnonzero(counts > many),
        "medium": np.flatnonzero((counts >= few) & (counts <= many)),
        "few": np.flatnonzero(counts < few),
    }


def _whole(values: Any) -> np.ndarray:
    """Whole numbers int64 (n,), or ContractError."""
    try:
        found = np.asarray(values, dtype=np.float64).reshape(-1)
        if (found == np.floor(found)).all():
            return found.astype(np.int64)
    except (TypeError, ValueError):
        pass
    raise ContractError(f"class groups are told by lists of whole numbers, got {values!r}")


def checked_counts(train_counts: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C,), or ContractError when shape or values are wrong."""
    counts = np.asarray(train_counts)
    if counts.shape != (num_classes,):
        raise ContractError(f"train_counts must have shape ({num_classes},), got {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ContractError(f"train_counts must be numbers >= 0, got {counts.tolist()}")
    return counts


def imbalance_ratio(counts: np.ndarray) -> float:
    """Largest over smallest class count; inf with a warning when a class has no image."""
    counts = np.asarray(counts)
    checked_counts(counts, len(counts))
    if counts.size == 0 or counts.max() == 0:
        raise ContractError("imbalance_ratio needs at least one class with an image")
    if counts.min() == 0:
        warnings.warn("a class has no image: the imbalance ratio is infinite", stacklevel=2)
        return float("inf")
    return float(counts.max() / counts.min())


def _lists(spec: Mapping[str, Any]) -> bool:
    return any(not np.isscalar(spec[name]) for name in NAMES if name in spec)


def _explicit(spec: Mapping[str, Any], num_classes: int) -> dict[str, np.ndarray]:
    chosen = {name: _whole(spec.get(name, ())) for name in NAMES}
    every = np.concatenate(list(chosen.values()))
    if len(np.unique(every)) != len(every) or (every < 0).any() or (every >= num_classes).any():
        raise ContractError(
            f"group lists must hold each class of 0..{num_classes - 1} at most once, got "
            f"{ {name: rows.tolist() for name, rows in chosen.items()} }"
        )
    return chosen
