"""Distances of a pool to the real training images in each extractor's features, overall and class by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltbench.interfaces import GenerationRecord
from ltbench.metrics import (
    FeatureStats,
    copy_ratio,
    frechet,
    frechet_from_features,
    kernel_distance,
    kernel_distance_subsets,
    measure_names,
    per_class,
    prdc_at,
    principal_axes,
)

NEIGHBOURS = 2000  # images a side for nearest neighbours
FRECHET = 20000  # images a side for everything else
CLASS_LEAST = 20  # images a side for a class to count in macro means
CLASS_AXES = 16  # dimensions for Frechet distances of single classes
K_PRECISION, K_DENSITY = 3, 5
SHARES = {"precision": K_PRECISION, "recall": K_PRECISION, "density": K_DENSITY, "coverage": K_DENSITY}


def distances(record: GenerationRecord, warnings: list[str]) -> dict[str, Any]:
    """Result key -> value for all features of the record; nan where there are too few images."""
    n = min(len(record.images), len(record.real_images) // 2, FRECHET)
    values: dict[str, Any] = {"n": float(n), "n_neighbours": float(min(n, NEIGHBOURS))}
    kinds = {name: measure_names(name, getattr(f, "weights", "")) for name, f in record.features.items()}
    if n < 2:
        warnings.append(f"distances need 2 pool and 4 real images, got {len(record.images)}, {len(record.real_images)}")
        for name, (fd, kd) in kinds.items():
            keys = (fd, f"{fd}_floor", f"{fd}_matched", kd, f"{kd}_floor", "copy_ratio", *SHARES)
            values |= {f"{key}[{name}]": float("nan") for key in keys}
        return {**values, "fd_floor": float("nan")}
    rng = np.random.default_rng([record.seed, 0])
    chosen, order = rng.permutation(len(record.images))[:n], rng.permutation(len(record.real_images))
    for name, extract in record.features.items():
        fd, kd = kinds[name]
        fake, real = np.asarray(extract(record.images)), np.asarray(extract(record.real_images))
        pool, half, other = fake[chosen], real[order[:n]], real[order[n : 2 * n]]
        stats, whole = FeatureStats.of(half), frechet(FeatureStats.of(fake), FeatureStats.of(real, _weights(record)))
        values |= {
            f"{fd}[{name}]": frechet(FeatureStats.of(pool), stats).value,
            f"{fd}_floor[{name}]": frechet(stats, FeatureStats.of(other)).value,
            f"{fd}_matched[{name}]": whole.value,
        }
        for key, sample in ((kd, pool), (f"{kd}_floor", other)):
            mean, sd = kernel_distance_subsets(sample, half, seed=record.seed)
            values[f"{key}[{name}]"] = mean
            if sd > 0:
                values[f"{key}_subset_sd[{name}]"] = sd
        values[f"rank_deficient[{name}]"] = float(n <= real.shape[1])
        values |= _neighbours(name, pool, half, other)
        if n <= K_DENSITY:
            warnings.append(_too_few(n))
        values[f"copy_ratio[{name}]"] = _copies(record, extract, pool, real, order)
        values |= _classes(record, name, (fd, kd), real, fake)
        values |= _neighbours_by_class(record, name, real, fake)
        values.setdefault("fd_floor", values[f"{fd}_floor[{name}]"])
        if n <= real.shape[1]:
            warnings.append(
                f"{fd}[{name}] is rank deficient: n = {n} for {real.shape[1]} dimensions, read it beside its floor"
            )
    return values


def _neighbours(name: str, pool: np.ndarray, half: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Precision, recall, density and coverage, and what other real images reach at the same n."""
    pool, half, other = (side[:NEIGHBOURS] for side in (pool, half, other))
    ks = tuple({k for k in SHARES.values() if k < len(pool)})
    found, floor = prdc_at(half, pool, ks), prdc_at(half, other, ks)
    nothing = dict.fromkeys(SHARES, float("nan"))
    values = {f"{key}[{name}]": found.get(k, nothing)[key] for key, k in SHARES.items()}
    return {**values, **{f"{key}_floor[{name}]": floor.get(k, nothing)[key] for key, k in SHARES.items()}}


def _too_few(n: int) -> str:
    """What n images a side do not suffice for."""
    lost = [f"{key} ({k + 1})" for key, k in SHARES.items() if n <= k]
    return f"undefined at n = {n}, in brackets the least: {', '.join(lost)}; measure more images"


def _copies(record: GenerationRecord, extract: Any, pool: np.ndarray, real: np.ndarray, order: np.ndarray) -> float:
    """Nearness to training images; without held-out images these are compared with each other."""
    if record.held_out is None or len(record.held_out) == 0:
        return copy_ratio(real[order], pool)
    some = np.random.default_rng([record.seed, 4]).permutation(len(record.held_out))[:NEIGHBOURS]
    return copy_ratio(real[order], pool, np.asarray(extract(record.held_out[some])))


def _classes(
    record: GenerationRecord, name: str, kinds: tuple[str, str], real: np.ndarray, fake: np.ndarray
) -> dict[str, Any]:
    """Macro means and values by class of the kernel and the Frechet distance, with floors."""
    if (record.labels < 0).any():
        return {}
    project = principal_axes(real[: 5 * NEIGHBOURS], CLASS_AXES)
    flat = (project(real), project(fake))
    short = f"{name}|pca{flat[0].shape[1]}"
    values: dict[str, Any] = {}
    for key, label, distance, (reals, fakes) in (
        (kinds[1], name, kernel_distance, (real, fake)),
        ("fd", short, frechet_from_features, flat),
    ):
        rng = np.random.default_rng([record.seed, 2])
        sides = (reals, record.real_labels), (fakes, record.labels)
        found = per_class(distance, *sides, record.num_classes, least=CLASS_LEAST, rng=rng)
        values |= {
            f"{key}_macro[{label}]": found.macro,
            f"{key}_macro_floor[{label}]": found.macro_floor,
            f"{key}_per_class[{label}]": found.values.tolist(),
            f"{key}_per_class_floor[{label}]": found.floors.tolist(),
            "n_per_class": found.n.tolist(),
            "classes_counted": float(len(found.counted)),
        }
    return values


def _neighbours_by_class(record: GenerationRecord, name: str, real: np.ndarray, fake: np.ndarray) -> dict[str, Any]:
    """Shares, their floors and copy ratios (against other images of the class) by class; nan where a class has few."""
    if (record.labels < 0).any():
        return {}
    rng, names = np.random.default_rng([record.seed, 3]), [*SHARES, *(f"{key}_floor" for key in SHARES)]
    lines: list[dict[str, float]] = []
    for c in range(record.num_classes):
        ours, theirs = (rng.permutation(side) for side in (fake[record.labels == c], real[record.real_labels == c]))
        n = min(len(ours), len(theirs) // 2, NEIGHBOURS)
        found = _neighbours(name, ours[:n], theirs[:n], theirs[n : 2 * n]) if n >= CLASS_LEAST else {}
        line = {key: found.get(f"{key}[{name}]", float("nan")) for key in names}
        enough = len(theirs) >= 2 and len(ours) >= 1
        line["copy_ratio"] = copy_ratio(theirs, ours) if enough else float("nan")
        lines.append(line)
    return {
        f"{key.removesuffix('_floor')}_per_class{'_floor' * key.endswith('_floor')}[{name}]": [x[key] for x in lines]
        for key in lines[0]
    }


def _weights(record: GenerationRecord) -> np.ndarray | None:
    """Weights of the real images that give them the class mix of the pool; None where the pool's classes are few."""
    if (record.labels < 0).any():
        return None
    pool = np.bincount(record.labels, minlength=record.num_classes)
    real = np.bincount(record.real_labels, minlength=record.num_classes)
    weights = (pool / np.maximum(real, 1))[record.real_labels]
    return weights if (weights > 0).sum() >= 2 else None
