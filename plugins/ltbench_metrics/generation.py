"""The metric "generation": how near, how right, how varied and how copied a pool of synthetic images is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltbench.interfaces import GenerationRecord, Metric
from ltbench.metrics import frechet_from_features, kernel_distance
from ltbench_metrics.pixels import nearest_ratio, resized, within_class_sd

TAIL = 3  # classes
HARDLY = 1.5  # times chance: a target rate below it draws a warning


class Generation(Metric):
    """Distances to the real training images at one n beside their real-versus-real floor, and per-class controls.

    fd[F], fd_floor[F]: squared Frechet distance of the features F between n pool and n real images, and between
    these and n other real images. fd_matched[F]: pool against all real images, weighted to the class mix of the pool
    (the plain distance also sees that the pool favours rare classes). kd[F]: kernel distance, less biased at small n.
    target_rate: share of pool images that the judge gives their class; _tail: over the three rarest classes.
    diversity: within-class pixel sd; nearest_ratio: share of likely copies of training images (see `pixels`).
    """

    on = "images"
    higher_is_better = {  # noqa: RUF012
        "target_rate": True,
        "target_rate_tail": True,
        "diversity": True,
        "diversity_ratio": True,
        "nearest_ratio": False,
    }

    def compute(self, record: GenerationRecord) -> dict[str, Any]:
        """Result key -> float, with "warnings"; everything is nan for an empty pool."""
        warnings: list[str] = []
        values = {
            "n_pool": float(len(record.images)),
            **_distances(record, warnings),
            **_target_rates(record, warnings),
            **_pixels(record, warnings),
        }
        return {**values, "warnings": warnings}


def _distances(record: GenerationRecord, warnings: list[str]) -> dict[str, float]:
    n = min(len(record.images), len(record.real_images) // 2)
    values: dict[str, float] = {"n": float(n)}
    if n < 2:
        warnings.append(f"distances need 2 pool and 4 real images, got {len(record.images)}, {len(record.real_images)}")
        names = [f"{key}[{name}]" for name in record.features for key in ("fd", "fd_floor", "fd_matched", "kd")]
        return {**values, **dict.fromkeys(names, float("nan")), "fd_floor": float("nan")}
    rng = np.random.default_rng([record.seed, 0])
    chosen, order = rng.permutation(len(record.images))[:n], rng.permutation(len(record.real_images))
    for name, extract in record.features.items():
        fake, real = extract(record.images), extract(record.real_images)
        half, other = real[order[:n]], real[order[n : 2 * n]]
        values |= {
            f"fd[{name}]": frechet_from_features(fake[chosen], half),
            f"fd_floor[{name}]": frechet_from_features(half, other),
            f"fd_matched[{name}]": frechet_from_features(fake, real, weights_b=_weights(record)),
            f"kd[{name}]": kernel_distance(fake[chosen], half, seed=record.seed),
            f"rank_deficient[{name}]": float(n <= real.shape[1]),
        }
        values.setdefault("fd_floor", values[f"fd_floor[{name}]"])
        if n <= real.shape[1]:
            warnings.append(
                f"fd[{name}] is rank deficient: n = {n} for {real.shape[1]} dimensions, read it with fd_floor"
            )
    return values


def _weights(record: GenerationRecord) -> np.ndarray:
    """Weights of the real images that give them the class mix of the pool; uniform where the pool's classes are few."""
    pool = np.bincount(record.labels, minlength=record.num_classes)
    real = np.bincount(record.real_labels, minlength=record.num_classes)
    weights = (pool / np.maximum(real, 1))[record.real_labels]
    return weights if (weights > 0).sum() >= 2 else np.ones(len(weights))


def _target_rates(record: GenerationRecord, warnings: list[str]) -> dict[str, float]:
    counts = np.bincount(record.real_labels, minlength=record.num_classes)
    tail = np.isin(record.labels, np.argsort(counts, kind="stable")[:TAIL])
    if record.judge is None or len(record.images) == 0:
        warnings.append("target rates are undefined: " + ("no judge" if record.judge is None else "empty pool"))
        return {"target_rate": float("nan"), "target_rate_tail": float("nan")}
    right = record.judge(record.images).argmax(axis=1) == record.labels
    if right.mean() < HARDLY / record.num_classes:
        warnings.append(
            f"the synthetic images hardly show their class: the judge names it in {right.mean():.2f} of them, "
            f"chance is {1 / record.num_classes:.2f}; look at samples.png, fit the generator longer or guide it more"
        )
    return {
        "target_rate": float(right.mean()),
        "target_rate_tail": float(right[tail].mean()) if tail.any() else float("nan"),
        **{
            f"target_rate_class[{c}]": float(right[record.labels == c].mean())
            for c in np.unique(record.labels).tolist()
        },
    }


def _pixels(record: GenerationRecord, warnings: list[str]) -> dict[str, float]:
    keys = ("diversity", "diversity_real", "diversity_ratio", "nearest_ratio")
    if len(record.images) == 0:
        return dict.fromkeys(keys, float("nan"))
    real = resized(record.real_images, record.images.shape[1:])
    fake_sd = within_class_sd(record.images, record.labels, record.num_classes)
    real_sd = within_class_sd(real, record.real_labels, record.num_classes)
    both = ~np.isnan(fake_sd) & ~np.isnan(real_sd)
    if not both.any():
        warnings.append("diversity is undefined: no class has two synthetic and two real images")
    fake_mean, real_mean = (float(sd[both].mean()) if both.any() else float("nan") for sd in (fake_sd, real_sd))
    ratio = fake_mean / real_mean if real_mean > 0 else float("nan")
    return dict(zip(keys, (fake_mean, real_mean, ratio, nearest_ratio(record.images, real, record.seed)), strict=True))
