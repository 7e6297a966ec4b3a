"""Metrics of stored predictions and of synthetic images, in plain float64 numpy."""

from ltbench.metrics.classification import classification, macro_f1
from ltbench.metrics.distances import (
    frechet_distance,
    frechet_from_features,
    kernel_distance,
    kernel_distance_subsets,
    prdc,
)
from ltbench.metrics.groups import class_groups, imbalance_ratio
from ltbench.metrics.resampling import bootstrap_difference, mcnemar

__all__ = [
    "bootstrap_difference",
    "class_groups",
    "classification",
    "frechet_distance",
    "frechet_from_features",
    "imbalance_ratio",
    "kernel_distance",
    "kernel_distance_subsets",
    "macro_f1",
    "mcnemar",
    "prdc",
]
