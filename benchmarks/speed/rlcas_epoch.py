"""What an epoch of RL-CAS costs, in paired interleaved runs: 8 classes, batches of 32 real images, K = 3, s = 2.

"epoch" is an RL-CAS epoch over a plain one (expected: 3 x 48 / 32 = 4.5, plus snapshots and validations). "sharing" is
the same RL-CAS epoch with its JPEG files decoded by every candidate over the one as it is, where all candidates read
images that were decoded once; "decoding" is the share of an RL-CAS epoch that this decoding would take, timed alone,
for files of `source` px that are scaled to `size`. "augmenting" is the share of an RL-CAS epoch that gathers and
augments batches: what could be saved at most if the candidates shared augmented images as well.

Run: python benchmarks/speed/rlcas_epoch.py [--pairs 30] [--size 64] [--backbone resnet10t] [--out FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import interval, paired
from PIL import Image

import ltbench
from ltbench.data.augment import Augmenter
from ltbench.engine.candidates import train_candidates
from ltbench.engine.evaluate import Evaluator
from ltbench.engine.loader import PlanBatches, TrainStore
from ltbench.engine.pool import Pool
from ltbench.interfaces import EpochView
from ltbench.testing import tiny_context

HERE = Path(__file__).resolve().parent
CLASSES, BATCH, K = 8, 32, 3
PLAIN = {"name": "rl-cas", "k": 1, "agents": "fixed", "start": 0}
RL_CAS = {"name": "rl-cas", "k": K, "agents": "learned", "start": 2, "move": 1, "low": 2, "high": 2}  # s stays at 2


class Side:
    """Epochs of one sampler on 64 real images shown `passes` times, with a pool of copies of them."""

    def __init__(self, folder: Path, sampler: dict[str, Any], args: argparse.Namespace) -> None:
        protocol = {
            "image_size": args.size,
            "stored_size": args.size,
            "batch_size": BATCH,
            "backbone": args.backbone,
            "augment": {"flip": True, "rotation": 15, "shift": 0.1},
        }
        sampler = {**sampler, "passes": args.passes}
        self.context = tiny_context(folder, num_classes=CLASSES, protocol=protocol, sampler=sampler)
        self.classifier = self.context.component("classifier")
        self.classifier.setup(self.context)
        self.classifier.start_stage(self.classifier.stages(2)[0], self.context)
        self.sampler = ltbench.build("sampler", self.context.recipe["sampler"])
        self.sampler.setup(class_counts=self.context.task.class_counts, total_epochs=2)
        self.store = TrainStore(self.context.train, self.context.device)
        table = self.context.train
        self.store.set_pool(Pool(np.array(table.images), table.labels))
        self.augmenter = Augmenter(protocol["augment"], args.size)  # type: ignore[arg-type]
        self.evaluator = Evaluator(self.classifier, self.context)
        self.before: Callable[[], None] = lambda: None

    def plans(self) -> list[Any]:
        """The candidates of an epoch."""
        view = EpochView(self.store.labels, self.store.synthetic, 0, 2, BATCH, CLASSES)
        return self.sampler.plan(view, {}, self.context.rng("plan"))

    def batches(self, plan: Any) -> PlanBatches:
        """Its batches, as the engine makes them."""
        return PlanBatches(self.store, plan, self.augmenter, self.classifier.views, self.context.rng, 0)

    def _train(self, plan: Any) -> dict[str, Any]:
        self.before()
        return self.classifier.train_epoch(self.batches(plan), self.context)

    def _validate(self) -> tuple[np.ndarray, float]:
        probs = self.evaluator.predict(self.context.val.images, "val")
        return probs, self.evaluator.score(probs, self.context.val.labels)

    def __call__(self) -> None:
        outcome = train_candidates(self.classifier, self.plans(), self._train, self._validate)
        self.sampler.observe(outcome.scores, outcome.best)

    def decode(self) -> None:
        """What K candidates would decode in an epoch."""
        for _ in range(K):
            self.before()

    def augment(self) -> None:
        """The batches of an epoch without a network."""
        for plan in self.plans():
            for _ in self.batches(plan):
                pass


def decoder(images: np.ndarray, passes: int, source: int) -> Callable[[], None]:
    """Decodes all images from JPEG, `passes` times, as a loader without a shared store would in an epoch."""
    files, size = [], images.shape[1]
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).resize((source, source)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())

    def decode() -> None:
        for _ in range(passes):
            for file in files:
                np.asarray(Image.open(io.BytesIO(file)).resize((size, size)))

    return decode


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--source", type=int, default=224, help="px of a file before it is scaled")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--passes", type=int, default=4, help="of the 64 real images in an epoch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rlcas_epoch.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng, rows = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        plain, ours, apart = (
            Side(Path(folder) / str(i), sampler, args) for i, sampler in enumerate((PLAIN, RL_CAS, RL_CAS))
        )
        apart.before = decoder(np.array(apart.context.train.images), args.passes, args.source)
        for side in (plain, ours, apart):
            side()
        for name, pair in {
            "epoch": (plain, ours),
            "sharing": (ours, apart),
            "decoding": (ours, apart.decode),
            "augmenting": (ours, ours.augment),
        }.items():
            rows[name] = interval(paired(*pair, args.pairs, rng), rng)
            print(json.dumps({name: rows[name]}), flush=True)
    facts = {"torch": torch.__version__, "threads": args.threads, "machine": platform.machine(), "pairs": args.pairs}
    facts |= {
        "size": args.size,
        "source": args.source,
        "backbone": args.backbone,
        "expected_epoch": K * (BATCH + 2 * CLASSES) / BATCH,
    }
    args.out.write_text(json.dumps({**facts, **rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
