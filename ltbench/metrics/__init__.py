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
from ltbench.metrics.intervals import hierarchical_draws, jeffreys, shared_draws
from ltbench.metrics.kernel import kernel_distance, kernel_distance_subsets
from ltbench.metrics.naming import measure_names
from ltbench.metrics.neighbours import copy_ratio, prdc, prdc_at
from ltbench.metrics.per_class import PerClass, per_class, principal_axes
from ltbench.metrics.ranking import Ranking, average_ranks, pareto_front
from ltbench.metrics.resampling import (
    bootstrap_metrics,
    bootstrap_p,
    confusion_intervals,
    image_weights,
    interval,
    metric_draws,
    multinomial_confusions,
    resampled_confusions,
)
from ltbench.metrics.significance import Precision, holm, mcnemar, seeds_can_show, sign_flip, smallest_wilcoxon_p

__all__ = [
    "FeatureStats",
    "Frechet",
    "PerClass",
    "Precision",
    "Ranking",
    "average_ranks",
    "bootstrap_metrics",
    "bootstrap_p",
    "class_groups",
    "classification",
    "confusion_intervals",
    "copy_ratio",
    "frechet",
    "frechet_distance",
    "frechet_from_features",
    "frechet_infinity",
    "hierarchical_draws",
    "holm",
    "image_weights",
    "imbalance_ratio",
    "interval",
    "jeffreys",
    "kernel_distance",
    "kernel_distance_subsets",
    "macro_f1",
    "mcnemar",
    "measure_names",
    "metric_draws",
    "multinomial_confusions",
    "pareto_front",
    "per_class",
    "prdc",
    "prdc_at",
    "principal_axes",
    "resampled_confusions",
    "seeds_can_show",
    "shared_draws",
    "sign_flip",
    "smallest_wilcoxon_p",
]
