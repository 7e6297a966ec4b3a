"""The metric "classification": `ltbench.metrics.classification` of the stored predictions."""

from __future__ import annotations

from typing import Any

from ltbench.interfaces import Metric, PredictionRecord
from ltbench.metrics import classification


class Classification(Metric):
    """All classification metrics."""

    higher_is_better = {  # noqa: RUF012
        **dict.fromkeys(("macro_f1", "balanced_accuracy", "mcc", "accuracy", "macro_precision", "macro_recall"), True),
        **dict.fromkeys(("weighted_recall", "weighted_f1", "weighted_specificity", "macro_specificity"), True),
        **dict.fromkeys(("auc", "quadratic_kappa"), True),
        **dict.fromkeys(("many_accuracy", "medium_accuracy", "few_accuracy"), True),
        **dict.fromkeys(("ece", "nll", "brier"), False),
    }

    def compute(self, record: PredictionRecord) -> dict[str, Any]:
        """Every key of `ltbench.metrics.classification`."""
        return classification(record.y_true, record.probs, record.train_counts, record.shot_groups)
