"""Do the intervals and tests keep their word? Simulated test parts with rare classes, where the truth is known.

    python benchmarks/interval_coverage.py [--experiments 10000] [--resamples 500]

Test parts are stratified, as the splits are: the number of images of a class is fixed, its predictions are drawn from
a row of probabilities. Jeffreys' coverage is summed over all outcomes and not simulated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
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
SEEDS = (2, 3, 5)
SPLITS = ((2, 1), (3, 1), (5, 1), (2, 3), (3, 3), (5, 3))  # splits, and seeds of each
SPLIT_SPREADS = (0.0, 0.5)
STUDIES = ["recall_jeffreys", "images", "paired_false_positives", "seeds_and_images", "splits_seeds_and_images"]
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


def run_study(
    counts: np.ndarray,
    splits: int,
    seeds: int,
    spread: float,
    experiments: int,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, dict]:
    """Coverage of the interval over splits, seeds and images, and false positives of the test, two equal methods.

    spread: sd over splits of the log-odds of a class's recall, a method's own. Splits have different test images.
    """
    size, y = len(counts), np.repeat(np.arange(len(counts)), counts)
    odds = np.log(np.array(RECALLS) / (1 - np.array(RECALLS)))

    def a_law(of_split: np.ndarray) -> np.ndarray:
        return row_law(counts, 1 / (1 + np.exp(-rng.normal(of_split, SEED_SPREAD))))

    def a_split() -> np.ndarray:
        return rng.normal(odds, spread)

    many = [truth(counts, a_law(a_split())) for _ in range(4000)]
    true = {key: float(np.mean([m[key] for m in many])) for key in KEYS}
    inside, positive = dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)
    for _ in range(experiments):
        found = []
        for _ in range(splits):
            weights = image_weights(len(y), resamples, rng)
            weights[0] = 1  # the images as they are
            laws = [a_law(of_split) for of_split in (a_split(), a_split()) for _ in range(seeds)]
            drawn = [from_confusion(resampled_confusions(y, predict(y, law, rng), size, weights)) for law in laws]
            found.append({key: np.stack([d[key] for d in drawn]) for key in KEYS})
        for key in KEYS:
            one = [values[key][:seeds] for values in found]
            gap = [values[key][seeds:] - values[key][:seeds] for values in found]
            over_one, over_gap = (
                hierarchical_draws([part[:, 0] for part in parts], [part[:, 1:] for part in parts], rng)
                for parts in (one, gap)
            )
            low, high = interval(over_one)
            inside[key] += low <= true[key] <= high
            positive[key] += bootstrap_p(over_gap) < 0.05
    return {
        key: {"coverage": inside[key] / experiments, "false_positives": positive[key] / experiments} for key in KEYS
    }


def studies(options: argparse.Namespace) -> Iterator[tuple[str, str, dict]]:
    """Part, setting and what was found; each part has its own random numbers."""
    plain, runs = (options.experiments, options.resamples), (options.run_experiments, options.resamples)
    settings = [(name, np.array(counts)) for name, counts in PARTS.items()]
    smallest_8 = np.array(PARTS["smallest class 8"])
    for part in options.parts:
        rng = np.random.default_rng([0, STUDIES.index(part)])
        if part == "recall_jeffreys":
            yield from ((part, str(n), recall_coverage(n)) for n in (3, 8, 15, 39))
        elif part == "images":
            yield from ((part, name, image_study(counts, *plain, rng)) for name, counts in settings)
        elif part == "paired_false_positives":
            yield from ((part, name, paired_study(counts, *plain, rng)) for name, counts in settings)
        elif part == "seeds_and_images":
            for seeds in SEEDS:
                yield part, f"{seeds} seeds", run_study(smallest_8, 1, seeds, 0.0, *runs, rng)
        else:
            for spread in SPLIT_SPREADS:
                for splits, seeds in SPLITS:
                    name = f"{splits} splits, seeds of each {seeds}, sd of splits {spread:g}"
                    yield part, name, run_study(smallest_8, splits, seeds, spread, *runs, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=STUDIES, default=STUDIES, help="others stay as they are")
    parser.add_argument("--experiments", type=int, default=10000)
    parser.add_argument("--run-experiments", type=int, default=10000, help="of the parts with seeds and with splits")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interval_coverage.json")
    options = parser.parse_args()
    result: dict = json.loads(options.out.read_text()) if options.out.is_file() else {}
    result = {part: result[part] for part in (*STUDIES, "of") if part in result}
    result |= {"recalls": RECALLS, "test_parts": PARTS}
    begun = set()
    for part, setting, found in studies(options):
        result[part] = {**(result[part] if part in begun else {}), setting: found}
        begun.add(part)
        experiments = {"images": options.experiments, "paired_false_positives": options.experiments}
        number = None if part == "recall_jeffreys" else experiments.get(part, options.run_experiments)
        result["of"] = {**result.get("of", {}), part: {"experiments": number, "resamples": options.resamples}}
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
