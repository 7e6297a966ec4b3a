"""Metrics of stored predictions and of synthetic images, in plain float64 numpy."""

from ltbench.metrics.classification import classification, macro_f1
from ltbench.metrics.gaussians import (
    FeatureStats,
    Frechet,
    frechet,
    frechet_distance,
    frechet_from_features,
    frechet_infinity,
)
from ltbench.metrics.groups import class_groups, imbalance_ratio
from ltbench.metrics.kernel import kernel_distance, kernel_distance_subsets
from ltbench.metrics.naming import measure_names
from ltbench.metrics.neighbours import copy_ratio, prdc, prdc_at
from ltbench.metrics.per_class import PerClass, per_class, principal_axes
from ltbench.metrics.resampling import bootstrap_difference, mcnemar

__all__ = [
    "FeatureStats",
    "Frechet",
    "PerClass",
    "bootstrap_difference",
    "class_groups",
    "classification",
    "copy_ratio",
    "frechet",
    "frechet_distance",
    "frechet_from_features",
    "frechet_infinity",
    "imbalance_ratio",
    "kernel_distance",
    "kernel_distance_subsets",
    "macro_f1",
    "mcnemar",
    "measure_names",
    "per_class",
    "prdc",
    "prdc_at",
    "principal_axes",
]
