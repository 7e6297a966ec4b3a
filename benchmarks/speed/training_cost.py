"""What a method's training costs: an epoch of it against an epoch of `ce`, in paired interleaved runs.

Both sides see the same 56 images of 64 px (resnet10t, batch 32), augmented, each through its own sampler: the ratio
holds the further views, networks and draws of a system. Losses have to stay within 10 % of `ce`.

Run: python benchmarks/speed/training_cost.py [--methods M ...] [--pairs 40] [--out FILE]
Results: 40 pairs of the losses (training_cost.json) and of the systems (training_cost_systems.json).
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import interval, paired

import ltbench
from ltbench.data.augment import Augmenter
from ltbench.engine.loader import PlanBatches, TrainStore
from ltbench.interfaces import EpochView
from ltbench.plugins import plugins
from ltbench.testing import tiny_context

HERE = Path(__file__).resolve().parent
PROTOCOL = {
    "image_size": 64,
    "stored_size": 64,
    "batch_size": 32,
    "backbone": "resnet10t",
    "augment": {"flip": True, "rotation": 15, "shift": 0.1},
}
CLASSES = 7


class Side:
    """One method, ready to train an epoch of its first stage again and again."""

    def __init__(self, method: str, folder: Path, repeats: int) -> None:
        recipe = plugins().registry.get("method", method).value
        slots = {slot: recipe[slot] for slot in ("classifier", "loss", "sampler") if recipe.get(slot) is not None}
        self.context = tiny_context(folder, num_classes=CLASSES, protocol=PROTOCOL, **slots)
        self.classifier = self.context.component("classifier")
        self.classifier.setup(self.context)
        stage = self.classifier.stages(2)[0]
        self.classifier.start_stage(stage, self.context)
        own = stage.sampler if stage.sampler is not None else self.context.recipe["sampler"]
        self.sampler = ltbench.build("sampler", own)
        self.sampler.setup(class_counts=self.context.task.class_counts, total_epochs=2)
        self.store = TrainStore(self.context.train, self.context.device)
        self.augmenter = Augmenter(PROTOCOL["augment"], PROTOCOL["image_size"])
        self.repeats = repeats

    def __call__(self) -> None:
        for _ in range(self.repeats):
            view = EpochView(self.store.labels, self.store.synthetic, 0, 2, PROTOCOL["batch_size"], CLASSES)  # type: ignore[arg-type]
            plan = self.sampler.plan(view, {}, self.context.rng("plan"))[0]
            self.classifier.train_epoch(
                PlanBatches(self.store, plan, self.augmenter, self.classifier.views, self.context.rng, 0), self.context
            )


def measure(method: str, pairs: int, repeats: int) -> dict[str, Any]:
    """Ratio of a method's epoch to that of ce, and the control ce against ce."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        first, other = (Side(m, Path(folder) / str(i), repeats) for i, m in enumerate(("ce", method)))
        first(), other()
        return {"method": method, "pairs": pairs, "cost": interval(paired(first, other, pairs, rng), rng)}


def main() -> None:
    """Measure every discriminative method, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="default: every method without a generator")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=1, help="epochs a timing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "training_cost.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    every = [c.id for c in plugins().registry.all() if c.kind == "method" and not c.value.get("generator")]
    rows = []
    for method in ["ce", *(m for m in args.methods or every if m != "ce")]:
        try:
            rows.append(measure(method, args.pairs, args.repeats))
        except ltbench.errors.LtbenchError as error:
            rows.append({"method": method, "left_out": str(error)})
        print(json.dumps(rows[-1]), flush=True)
        facts = {"torch": torch.__version__, "threads": args.threads, "machine": platform.machine()}
        args.out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
