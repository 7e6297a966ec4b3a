"""Every generator on balanced digits: is a sample of the wanted class, how far are the samples from the real images?

Fits what a `quick` cell on digits-lt with dataset.imbalance=1 would fit, once for each seed (the split is the data
set's own and stays the same), draws 100 images a class, and measures them with networks that no generator has seen:
consistency is the rate at which the judge (other architecture and seed than any guide) names the wanted class; distance
is the Frechet distance to the training images on the 64 ReLU features of a perceptron trained on them, beside its
floors: the test part, and two halves of the training part. diversity: spread of pixels within a class over that of
training images. copies: share of images nearer to a training image than
99 % of training images are to each other. The rows with shuffled labels are a control: a generator that was told wrong
classes must not be consistent.

    python benchmarks/generators_digits.py --seeds 0 1 2 --out benchmarks/results/generators_digits.json
    python benchmarks/generators_digits.py --seeds 0 --out benchmarks/results/generators_digits.json \\
        --generators "ddpm, shuffled labels" "stylegan2-ada, shuffled labels" "cellgan, shuffled labels"
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ltbench_metrics.pixels import within_class_sd
from sklearn.neural_network import MLPClassifier
from tabulate import tabulate

from ltbench.launch.local import gather, open_context
from ltbench.metrics import frechet_from_features

GENERATORS = {
    "real-copies": "real-copies",
    "ddpm": "ddpm",
    "edm": "edm",
    "guided-ddpm (reference guide)": {"name": "guided-ddpm", "guide": "reference", "scale": 3.0},
    "mgdm": "mgdm",
    "mgdm, scale 3": {"name": "mgdm", "scale": 3.0},
    "histodiffusion": "histodiffusion",
    **{f"histodiffusion, scale {scale}": {"name": "histodiffusion", "scale": float(scale)} for scale in (0, 1, 10)},
    "stylegan2": "stylegan2",
    "stylegan2-ada": "stylegan2-ada",
    "stylegan2-ada, 100 kimg": {"name": "stylegan2-ada", "kimg": 100},
    "cellgan": "cellgan",
    "selective (edm)": {"name": "selective", "base": "edm"},
    "selective (histodiffusion)": {"name": "selective", "base": "histodiffusion"},
}
SHUFFLED: dict[str, Any] = {f"{name}, shuffled labels": name for name in ("ddpm", "stylegan2-ada", "cellgan")}


def features(net: MLPClassifier, images: np.ndarray) -> np.ndarray:
    """The 64 hidden ReLU units, (n, 64)."""
    return np.maximum(flat(images) @ net.coefs_[0] + net.intercepts_[0], 0)


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 8, 8, 1) -> float (n, 64) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float64) / 255


def extractor(images: np.ndarray, labels: np.ndarray) -> MLPClassifier:
    """A perceptron with 64 hidden units, trained on the training part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier((64,), max_iter=400, random_state=0).fit(flat(images), labels)


def nearest(queries: np.ndarray, points: np.ndarray, own: bool = False) -> np.ndarray:
    """Distance of each query to its nearest point; own: queries are the points, and not their own neighbour."""
    square = ((flat(queries)[:, None] - flat(points)[None]) ** 2).sum(2)
    if own:
        np.fill_diagonal(square, np.inf)
    return np.sqrt(square.min(1))


def one(label: str, spec: Any, seed: int, per_class: int, folder: Path) -> dict[str, Any]:
    """Fit, draw and measure one generator on one split."""
    setting: dict[str, Any] = {"dataset.imbalance": 1, "protocol.split_seed": seed}
    job = gather({"generator": spec}, "digits-lt", "quick", 0, setting, None, "cpu")
    context = open_context(job, folder, "cpu", lambda text: None)
    train, test = context.train, job.data.test
    net = extractor(train.images, train.labels)
    real = features(net, train.images)
    judge = context.reference("judge")
    before = sum(phase["seconds"] for phase in context.cost.phases.values())
    told = context
    if label in SHUFFLED:
        setting["dataset.shuffle_labels"] = True
        other = gather({"generator": spec}, "digits-lt", "quick", 0, setting, None, "cpu")
        told, before = open_context(other, folder, "cpu", lambda text: None), 0.0
    generator = told.fit_generator(job.cell.recipe["generator"])
    fit_seconds = sum(phase["seconds"] for phase in told.cost.phases.values()) - before
    context.at("measure", 0)
    begun = time.perf_counter()
    guide: Any = context.reference("guide") if generator.guided else None
    images, labels = generator.sample(np.full(10, per_class), guide=guide, rng=context.rng("draw"))
    sample_seconds = time.perf_counter() - begun
    made = features(net, images)
    halves = np.array_split(np.random.default_rng(seed).permutation(len(real)), 2)
    limit = np.percentile(nearest(train.images, train.images, own=True), 1)
    classes = [frechet_from_features(made[labels == k], real[train.labels == k]) for k in range(10)]
    spread = [within_class_sd(x, y, 10) for x, y in ((images, labels), (train.images, train.labels))]
    return {
        "generator": label,
        "seed": seed,
        "n": len(images),
        "consistency": float((judge.predict(images).argmax(1) == labels).mean()),
        "judge_on_test": float((judge.predict(test.images).argmax(1) == test.labels).mean()),
        "distance": frechet_from_features(made, real),
        "distance_per_class": float(np.mean(classes)),
        "floor_test": frechet_from_features(features(net, test.images), real),
        "floor_halves": frechet_from_features(real[halves[0]], real[halves[1]]),
        "diversity": float(np.mean(spread[0] / spread[1])),
        "copies": float((nearest(images, train.images) < limit).mean()),
        "fit_seconds": fit_seconds,
        "sample_seconds": sample_seconds,
        "notes": generator.notes(),
    }


def main() -> None:
    """Run what is missing in the result file, write after each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", nargs="+", choices=[*GENERATORS, *SHUFFLED], default=list(GENERATORS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("generators_digits.json"))
    args = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.is_file() else []
    known = {(row["generator"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            for label in args.generators:
                if (label, seed) not in known:
                    rows.append(one(label, {**GENERATORS, **SHUFFLED}[label], seed, args.per_class, Path(folder)))
                    args.out.write_text(json.dumps(rows, indent=1))
                    print(
                        label, seed, {k: round(v, 3) for k, v in rows[-1].items() if isinstance(v, float)}, flush=True
                    )
    print(
        tabulate(
            [summary(label, rows) for label in (*GENERATORS, *SHUFFLED) if any(r["generator"] == label for r in rows)],
            "keys",
        )
    )


def summary(label: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    its = [row for row in rows if row["generator"] == label]
    line: dict[str, Any] = {"generator": label, "seeds": len(its), "n": its[0]["n"]}
    measures = ("consistency", "distance", "floor_test", "floor_halves", "distance_per_class", "diversity", "copies")
    for key in (*measures, "fit_seconds"):
        values = [row.get(key, float("nan")) for row in its]  # rows made before a measure was added lack it
        line[key] = f"{np.mean(values):.3f} +- {np.std(values, ddof=1) if len(values) > 1 else float('nan'):.3f}"
    return line


if __name__ == "__main__":
    main()
