"""1,000 bootstrap samples of the metrics against a loop over scikit-learn on the same images; ratios in pairs.

    python benchmarks/speed/bootstrap.py [--pairs 5] [--loop 20]

The loop is timed on `--loop` samples and counted up to 1,000, as it does the same work for each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
from paired import interval, seconds
from sklearn import metrics as sk

from ltbench.metrics import bootstrap_metrics, confusion_intervals, image_weights
from ltbench.metrics.classification import confusion_matrix
from ltbench.metrics.weighted import weighted_auc

HERE = Path(__file__).parent
COUNTS = (360, 200, 74, 58, 39)
SAMPLES = 1000


def of_labels(y: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    """What is counted from predicted labels, by the library."""
    return {
        "accuracy": sk.accuracy_score(y, pred),
        "balanced_accuracy": sk.balanced_accuracy_score(y, pred),
        "macro_precision": sk.precision_score(y, pred, average="macro", zero_division=0),
        "macro_f1": sk.f1_score(y, pred, average="macro"),
        "mcc": sk.matthews_corrcoef(y, pred),
        "quadratic_kappa": sk.cohen_kappa_score(y, pred, weights="quadratic"),
    }


def of_probs(y: np.ndarray, probs: np.ndarray) -> dict[str, float]:
    """The whole set that the library has, by the library."""
    return {
        **of_labels(y, probs.argmax(axis=1)),
        "auc": sk.roc_auc_score(y, probs, multi_class="ovr"),
        "nll": sk.log_loss(y, probs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--loop", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "bootstrap.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(5), COUNTS)
    probs = rng.dirichlet(np.ones(5), len(y)) * 0.6 + 0.4 * np.eye(5)[y]
    pred, n = probs.argmax(axis=1), len(y)
    weights = image_weights(n, SAMPLES, np.random.default_rng(0))  # those that bootstrap_metrics(seed=0) draws
    samples = [np.repeat(np.arange(n), w) for w in weights[: options.loop].astype(int)]
    matrix = confusion_matrix(y, pred, 5)
    work: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "metrics_of_labels": (
            lambda: confusion_intervals(matrix, ["macro_f1"], resamples=SAMPLES),
            lambda: [of_labels(y[r], pred[r]) for r in samples],
        ),
        "auc": (
            lambda: weighted_auc(y, probs, image_weights(n, SAMPLES, np.random.default_rng(0))),
            lambda: [sk.roc_auc_score(y[r], probs[r], multi_class="ovr") for r in samples],
        ),
        "whole_set": (
            lambda: bootstrap_metrics(y, probs, resamples=SAMPLES),
            lambda: [of_probs(y[r], probs[r]) for r in samples],
        ),
    }
    result: dict = {"images": n, "classes": 5, "samples": SAMPLES, "pairs": options.pairs, "loop": options.loop}
    for name, sides in work.items():
        ratios, control = [], []
        for _ in range(options.pairs):
            times = [0.0, 0.0]
            for which in rng.permutation(2):
                times[which] = seconds(sides[which])
            ratios.append(times[1] * SAMPLES / options.loop / times[0])
            control.append(seconds(sides[0]) / times[0])
        result[name] = {"speedup": interval(ratios, rng), "control_a_against_a": interval(control, rng)}
    ours, theirs = bootstrap_metrics(y, probs, resamples=SAMPLES), [of_probs(y[r], probs[r]) for r in samples]
    result["largest_difference_on_the_same_images"] = max(
        abs(found[key] - ours[key][i]) for i, found in enumerate(theirs) for key in found
    )
    result |= {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "machine": platform.machine()}
    result |= {"threads": 1, "load_average": os.getloadavg()[0]}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
