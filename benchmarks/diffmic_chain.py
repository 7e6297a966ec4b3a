"""Does diffmic use its chain, and what does the chain add to its own guide?

Trains diffmic once for each seed as a `quick` cell would, to its last epoch, and decides the validation images in
several ways with the same weights: the guide alone; one chain; the mean of ten; the other samplers; and one chain
whose network is shown fresh noise in place of the noisy label y_t at every step. `changed`: share of decisions that
differ from those of one chain, beside that of a second chain with other noise. No test image is looked at.

    python benchmarks/diffmic_chain.py --seeds 0 1 2 --out benchmarks/results/diffmic_chain.json
    LTBENCH_DATA=DIR python benchmarks/diffmic_chain.py --dataset aptos --seeds 0 --out diffmic_chain_aptos.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ltbench_diffmic.denoiser import Denoiser
from ltbench_diffmic.diffmic import DiffMIC
from tabulate import tabulate

from ltbench.engine import progress
from ltbench.engine.evaluate import Evaluator
from ltbench.engine.run import Run
from ltbench.launch.local import gather, open_context
from ltbench.metrics import classification

WAYS: dict[str, dict[str, Any]] = {
    "one chain": {},
    "guide alone": {"diffusion": False},
    "mean of 10": {"samples": 10},
    "ddim": {"sampler": "ddim"},
    "truncated": {"sampler": "truncated"},
    "60 steps": {"steps": 60},
}


class Blind(Denoiser):
    """The noise predictor with fresh noise in place of the noisy label."""

    def at(self, tables: Any, i: int, e: Any, constant: Any, y: Any) -> Any:
        return super().at(tables, i, e, constant, torch.randn_like(y))


def decide(classifier: DiffMIC, run: Run, **options: Any) -> np.ndarray:
    """Probabilities (n, C) of the validation images with some options replaced."""
    before = {name: getattr(classifier, name) for name in options}
    vars(classifier).update(options)
    try:
        return Evaluator(classifier, run.context).predict(run.context.val.images, "val")
    finally:
        vars(classifier).update(before)


def one(dataset: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Train, decide in every way, one row each."""
    job = gather("diffmic", dataset, "quick", seed, {}, None, "auto")
    (folder / str(seed)).mkdir()
    run = Run(open_context(job, folder / str(seed), "auto", lambda text: None), job.cell.hash, lambda epoch, line: None)
    run.train()
    last = progress.load(run)
    assert last is not None
    run.classifier.load_state_dict(last["classifier"])  # the best epoch was chosen by "one chain" and would favour it
    classifier, labels = run.classifier, run.context.val.labels
    decided = {way: decide(classifier, run, **options) for way, options in WAYS.items()}
    seeded = run.context.seed
    run.context.seed = seeded + 1000
    decided["one chain, other noise"] = decide(classifier, run)
    run.context.seed = seeded
    net = classifier.nets["noise"]
    net.__class__ = Blind
    decided["blind to y_t"] = decide(classifier, run)
    net.__class__ = Denoiser
    usual = decided["one chain"].argmax(1)
    return [
        {
            "dataset": dataset,
            "seed": seed,
            "way": way,
            "macro_f1": float(classification(labels, probs)["macro_f1"]),
            "ece": float(classification(labels, probs)["ece"]),
            "changed": float((probs.argmax(1) != usual).mean()),
            "n": len(labels),
        }
        for way, probs in decided.items()
    ]


def main() -> None:
    """Run, write JSON after each seed, print means and standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits-lt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("diffmic_chain.json"))
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            rows += one(args.dataset, seed, Path(folder))
            args.out.write_text(json.dumps(rows, indent=1))
    print(tabulate([summary(way, rows) for way in dict.fromkeys(row["way"] for row in rows)], "keys"))


def summary(way: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    its = [row for row in rows if row["way"] == way]
    line: dict[str, Any] = {"way": way, "seeds": len(its)}
    for key in ("macro_f1", "ece", "changed"):
        values = [row[key] for row in its]
        line[key] = f"{np.mean(values):.3f} +- {np.std(values, ddof=1) if len(values) > 1 else float('nan'):.3f}"
    return line


if __name__ == "__main__":
    main()
