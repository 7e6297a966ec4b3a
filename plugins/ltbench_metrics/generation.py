"""The metric "generation": how near, how right, how varied and how copied a pool of synthetic images is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltbench.interfaces import GenerationRecord, Metric
from ltbench_metrics.distances import distances
from ltbench_metrics.pixels import nearest_ratio, resized, within_class_sd

TAIL = 3  # classes
HARDLY = 1.5  # times chance: a target rate below it draws a warning
COPIED = 0.5  # times the nearness of real images: a nearer pool draws a warning


class Generation(Metric):
    """Distances to the real training images at one n beside their real-versus-real floor, and per-class controls.

    fd[F], fd_floor[F]: squared Frechet distance of the features F between n pool and n real images, and between
    these and n other real images; likewise kd[F] (kernel distance, less biased at small n), precision[F] and
    recall[F] (k = 3), density[F] and coverage[F] (k = 5), the latter four at n_neighbours. With the weights of 2015
    alone the distances are called fid[F] and kid[F]. fd_matched[F]: pool against all real images, weighted to the
    class mix of the pool (the plain distance also sees that the pool favours rare classes). *_macro[F]: mean over the
    classes with at least 20 images a side; Frechet distances there in 16 principal axes, for their bias.
    *_per_class[F]: lists by class, nan where one has fewer.
    copy_ratio[F]: nearness to training images over that of held-out ones, 0 for copies, about 1 for new images.
    target_rate: share of pool images that the judge gives their class, beside target_rate_floor, that of held-out real
    images in the class mix of the pool; _tail: over the three rarest classes.
    diversity: within-class pixel sd; nearest_ratio: share of likely copies of training images (see `pixels`).
    Labels of -1 are unknown: what needs classes is left out.
    """

    on = "images"
    higher_is_better = {  # noqa: RUF012
        **dict.fromkeys(("fd", "kd", "fid", "kid", "nearest_ratio"), False),
        **dict.fromkeys(("precision", "recall", "density", "coverage", "copy_ratio"), True),
        **dict.fromkeys(("target_rate", "target_rate_tail", "target_rate_macro"), True),
        **dict.fromkeys(("diversity", "diversity_ratio"), True),
    }

    def compute(self, record: GenerationRecord) -> dict[str, Any]:
        """Result key -> float or list by class, with "warnings"; everything is nan for an empty pool."""
        warnings: list[str] = []
        values = {
            "n_pool": float(len(record.images)),
            **distances(record, warnings),
            **_target_rates(record, warnings),
            **_pixels(record, warnings),
        }
        for name in record.features:
            ratio = values.get(f"copy_ratio[{name}]", float("nan"))
            if ratio < COPIED:
                warnings.append(
                    f"the synthetic images lie {ratio:.2f} times as far from the training images as other real ones "
                    f"(copy_ratio[{name}]): they may be copies, and distances to the training part then say nothing"
                )
        return {**values, "warnings": warnings}


def _target_rates(record: GenerationRecord, warnings: list[str]) -> dict[str, Any]:
    counts = np.bincount(record.real_labels, minlength=record.num_classes)
    tail = np.isin(record.labels, np.argsort(counts, kind="stable")[:TAIL])
    unlabelled = bool((record.labels < 0).any())
    if record.judge is None or len(record.images) == 0 or unlabelled:
        why = "images without classes" if unlabelled else "no judge" if record.judge is None else "empty pool"
        warnings.append(f"target rates are undefined: {why}")
        return dict.fromkeys(
            ("target_rate", "target_rate_floor", "target_rate_tail", "target_rate_macro"), float("nan")
        )
    right = record.judge(record.images).argmax(axis=1) == record.labels
    if right.mean() < HARDLY / record.num_classes:
        warnings.append(
            f"the synthetic images hardly show their class: the judge names it in {right.mean():.2f} of them, "
            f"chance is {1 / record.num_classes:.2f}; look at them, fit the generator longer or guide it more"
        )
    classes = {c: float(right[record.labels == c].mean()) for c in np.unique(record.labels).tolist()}
    return {
        "target_rate": float(right.mean()),
        "target_rate_floor": _rate_of_real(record),
        "target_rate_tail": float(right[tail].mean()) if tail.any() else float("nan"),
        "target_rate_macro": float(np.mean(list(classes.values()))),
        "target_rate_per_class": [classes.get(c, float("nan")) for c in range(record.num_classes)],
        **{f"target_rate_class[{c}]": rate for c, rate in classes.items()},
    }


def _rate_of_real(record: GenerationRecord) -> float:
    """The judge's recall on held-out real images, weighted to the pool's classes as far as both have them."""
    labels = record.held_out_labels
    if record.judge is None or record.held_out is None or labels is None or len(labels) == 0:
        return float("nan")
    right = record.judge(record.held_out).argmax(axis=1) == labels
    classes = np.intersect1d(record.labels, labels)
    weights = np.array([(record.labels == c).sum() for c in classes], float)
    recalls = np.array([right[labels == c].mean() for c in classes])
    return float(recalls @ weights / weights.sum()) if len(classes) else float("nan")


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
