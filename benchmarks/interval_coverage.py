"""Do the intervals and tests keep their word? Simulated test parts with rare classes, where the truth is known.

    python benchmarks/interval_coverage.py [--experiments 10000] [--resamples 500]

Test parts are stratified, as the splits are: the number of images of a class is fixed, its predictions are drawn from
a row of probabilities. Jeffreys' coverage is summed over all outcomes and not simulated.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy import stats

from ltbench.metrics import (
    bootstrap_p,
    hierarchical_draws,
    image_weights,
    interval,
    jeffreys,
    multinomial_confusions,
    resampled_confusions,
)
from ltbench.metrics.classification import from_confusion

KEYS = ("macro_f1", "balanced_accuracy", "mcc")
RECALLS = (0.95, 0.75, 0.7, 0.5, 0.4)
PARTS = {
    "smallest class 39": (360, 200, 74, 58, 39),
    "smallest class 15": (400, 150, 60, 30, 15),
    "smallest class 8": (400, 100, 40, 15, 8),
    "smallest class 3": (300, 100, 30, 8, 3),
}
SEEDS = (3, 5)
SEED_SPREAD = 0.3  # sd over seeds of the log-odds of a class's recall
AGREE = 0.6  # share of images on which two models give one answer
HERE = Path(__file__).parent


def row_law(counts: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """Probabilities (C, C) of the predictions of each class: errors go to the others by their size."""
    law = np.tile(counts.astype(np.float64), (len(counts), 1))
    np.fill_diagonal(law, 0)
    law *= ((1 - recalls) / law.sum(axis=1))[:, None]
    return law + np.diag(recalls)


def truth(counts: np.ndarray, law: np.ndarray) -> dict[str, float]:
    """Metrics of the expected confusion matrix."""
    found = from_confusion(counts[:, None] * law)
    return {key: found[key] for key in KEYS}


def predict(y: np.ndarray, law: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One prediction for each label."""
    return (rng.random(len(y))[:, None] > law.cumsum(axis=1)[y][:, :-1]).sum(axis=1)


def recall_coverage(n: int) -> dict[str, float]:
    """Coverage of Jeffreys' interval over true recalls 0.05, 0.06, ... 0.95, exact."""
    hits = np.arange(n + 1)
    low, high = jeffreys(hits, n)
    rates = np.arange(5, 96) / 100
    cover = np.array([stats.binom.pmf(hits, n, p)[(low <= p) & (p <= high)].sum() for p in rates])
    return {
        "mean": cover.mean(),
        "least": cover.min(),
        "least_at": rates[cover.argmin()],
        "below_90": (cover < 0.9).mean(),
    }


def image_study(counts: np.ndarray, experiments: int, resamples: int, rng: np.random.Generator) -> dict[str, dict]:
    """Coverage of the percentile interval of a confusion matrix, and on which side the truth lies when outside."""
    law = row_law(counts, np.array(RECALLS))
    true = truth(counts, law)
    inside, above = dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)
    for _ in range(experiments):
        matrix = np.stack([rng.multinomial(n, p) for n, p in zip(counts, law, strict=True)])
        drawn = from_confusion(multinomial_confusions(matrix, resamples, rng))
        for key in KEYS:
            low, high = interval(drawn[key])
            inside[key] += low <= true[key] <= high
            above[key] += true[key] > high
    return {key: {"coverage": inside[key] / experiments, "truth_above": above[key] / experiments} for key in KEYS}


def paired_study(counts: np.ndarray, experiments: int, resamples: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of p < 0.05 of the paired bootstrap between two models of one law that agree on most images."""
    law, found = row_law(counts, np.array(RECALLS)), dict.fromkeys(KEYS, 0)
    y, size = np.repeat(np.arange(len(counts)), counts), len(counts)
    for _ in range(experiments):
        a, other = predict(y, law, rng), predict(y, law, rng)
        b = np.where(rng.random(len(y)) < AGREE, a, other)
        triples, n = np.unique(np.stack([y, a, b]), axis=1, return_counts=True)
        drawn = rng.multinomial(len(y), n / len(y), size=resamples).astype(np.float32)
        one, two = (from_confusion(resampled_confusions(triples[0], side, size, drawn)) for side in triples[1:])
        for key in KEYS:
            found[key] += bootstrap_p(two[key] - one[key]) < 0.05
    return {key: count / experiments for key, count in found.items()}


def seed_study(
    counts: np.ndarray, seeds: int, experiments: int, resamples: int, rng: np.random.Generator
) -> dict[str, dict]:
    """Coverage of the interval over seeds and images, and false positives of the test with it, two equal methods."""
    size, y = len(counts), np.repeat(np.arange(len(counts)), counts)
    odds = np.log(np.array(RECALLS) / (1 - np.array(RECALLS)))

    def a_law() -> np.ndarray:
        return row_law(counts, 1 / (1 + np.exp(-rng.normal(odds, SEED_SPREAD))))

    many = [truth(counts, a_law()) for _ in range(4000)]
    true = {key: float(np.mean([m[key] for m in many])) for key in KEYS}
    inside, positive = dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)
    for _ in range(experiments):
        weights = image_weights(len(y), resamples, rng)
        weights[0] = 1  # the images as they are
        drawn = [
            from_confusion(resampled_confusions(y, predict(y, a_law(), rng), size, weights)) for _ in range(2 * seeds)
        ]
        for key in KEYS:
            values = np.stack([d[key] for d in drawn])
            one, gap = values[:seeds], values[seeds:] - values[:seeds]
            low, high = interval(hierarchical_draws([one[:, 0]], [one[:, 1:]], rng))
            inside[key] += low <= true[key] <= high
            positive[key] += bootstrap_p(hierarchical_draws([gap[:, 0]], [gap[:, 1:]], rng)) < 0.05
    return {
        key: {"coverage": inside[key] / experiments, "false_positives": positive[key] / experiments} for key in KEYS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=10000)
    parser.add_argument("--seed-experiments", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interval_coverage.json")
    options = parser.parse_args()
    start, rng = time.process_time(), np.random.default_rng(0)
    result: dict = {
        "experiments": options.experiments,
        "seed_experiments": options.seed_experiments,
        "resamples": options.resamples,
        "recalls": RECALLS,
        "test_parts": PARTS,
        "recall_jeffreys": {n: recall_coverage(n) for n in (3, 8, 15, 39)},
        "images": {},
        "paired_false_positives": {},
        "seeds_and_images": {},
    }
    settings = [(name, np.array(counts)) for name, counts in PARTS.items()]

    def save() -> None:
        result["cpu_seconds"] = time.process_time() - start
        options.out.write_text(json.dumps(result, indent=1) + "\n")

    for name, counts in settings:
        result["images"][name] = image_study(counts, options.experiments, options.resamples, rng)
        save()
    for name, counts in settings:
        result["paired_false_positives"][name] = paired_study(counts, options.experiments, options.resamples, rng)
        save()
    for seeds in SEEDS:
        counts = np.array(PARTS["smallest class 8"])
        found = seed_study(counts, seeds, options.seed_experiments, options.resamples, rng)
        result["seeds_and_images"][f"{seeds} seeds"] = found
        save()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
