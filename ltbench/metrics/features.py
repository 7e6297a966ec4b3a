"""Checks of feature arrays, shared by every distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltbench.errors import ContractError, NonFinite

Names = Sequence[str] | None


def checked(features: np.ndarray, what: str, least: int = 2, names: Names = None) -> np.ndarray:
    """Features as float64 (n >= least, d); `names` (n,) says which image a bad row is.

    ContractError for another shape, NonFinite for nan or infinities.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < least or features.shape[1] < 1:
        raise ContractError(f"the {what} features must be (n >= {least}, d), got {features.shape}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        which = f"row {bad[0]}" if names is None else f"image {names[bad[0]]}"
        raise NonFinite(
            f"the {what} features hold nan or inf in {len(bad)} rows, first {which}; look at this image, "
            "or run the extractor in float32"
        )
    return features


def checked_pair(a: np.ndarray, b: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as float64 (n, d) and (m, d); ContractError naming the side that is wrong, or both dimensions."""
    a, b = checked(a, "first", least), checked(b, "second", least)
    same_dimension(a.shape[1], b.shape[1])
    return a, b


def same_dimension(first: int, second: int) -> None:
    """ContractError where two sets of features have different dimensions."""
    if first != second:
        raise ContractError(f"features must have one dimension, got {first} and {second}; use one extractor")
