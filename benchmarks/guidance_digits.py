"""Does guidance hit the wanted class? The acceptance experiment of guided-ddpm on long-tailed digits.

Fits the tier-tiny generator as a `quick` cell on digits-lt does, guides it by a CNN trained on the same imbalanced
images, and lets an independent judge (other architecture and seed, trained on all balanced images) name 500 samples.
No test image enters a fit or a rate; the test part gives the accuracies of the two networks and the distance's floor.

    python benchmarks/guidance_digits.py --seeds 0 1 --out benchmarks/results/guidance_digits.json
    python benchmarks/guidance_digits.py --guide batch_norm --cases 0 1 --out guidance_digits_batch_norm.json
    python benchmarks/guidance_digits.py --set 'prediction="v_prediction"' --cases 0 1 7 --out guidance_digits_v.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ltbench
from ltbench.interfaces import Context, ImageTable, ReferenceModel, Stateful, Task
from ltbench.metrics import frechet_from_features
from ltbench.models.nets import build_backbone

RATIO = 20
CASES = [
    {"scale": 0.0},
    *({"scale": s, "guidance_input": g} for g in ("x0_pred", "x_t") for s in (1.0, 3.0, 10.0)),
    {"scale": 3.0, "guidance_input": "x0_pred", "clamp_guided_x0": True},
]


class BenchContext(Context):
    """A context without cache: what a fit needs and nothing else."""

    def __init__(self, train: ImageTable, num_classes: int, seed: int = 0) -> None:
        names = tuple(str(k) for k in range(num_classes))
        counts = np.bincount(train.labels, minlength=num_classes)
        self.train, self.seed, self.device = train, seed, torch.device("cpu")
        self.task = Task(num_classes, names, counts, train.images.shape[1:])

    def pool(self, sources: Any) -> Any:
        raise NotImplementedError(sources)

    def fit_generator(self, spec: Any) -> Any:
        raise NotImplementedError(spec)

    def component(self, slot: str) -> Any:
        raise NotImplementedError(slot)

    def rng(self, *tags: str | int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *"/".join(map(str, tags)).encode()])

    def torch_rng(self, *tags: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(int(self.rng(*tags).integers(2**63)))

    def autocast(self) -> Any:
        return contextlib.nullcontext()

    def steps(
        self,
        name: str,
        total: int,
        owner: Stateful,
        options: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Iterator[int]:
        for step in range(total):
            torch.manual_seed(int(self.rng(name, step).integers(2**63)))
            yield step

    def reference(self, role: str) -> ReferenceModel:
        raise NotImplementedError(role)

    def log(self, **scalars: float) -> None:
        pass


def digits() -> tuple[ImageTable, ImageTable, ImageTable]:
    """Training part (long tail), all balanced training images and test part of digits-lt."""
    dataset = ltbench.build("dataset", "digits-lt", ratio=RATIO)
    table = dataset.load(Path(), 8)
    split = dataset.split(table, dataset.scheme, 0)
    return table.take(split.train), dataset.balanced_train(8), table.take(split.test)


def guide_net(kind: str) -> nn.Module:
    """The network of `quick` at 8 px, or the same shape with batch norm, ReLU and max pooling."""
    if kind == "small_cnn":
        return nn.Sequential(build_backbone("small_cnn", 1, 8, "none", None), nn.Linear(128, 10))
    layers: list[nn.Module] = []
    for a, b in [(1, 32), (32, 64), (64, 128)]:
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if b < 128 else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def judge_net() -> nn.Sequential:
    """Another architecture: two wide 5 x 5 convolutions and a hidden layer of 64, whose output are the features."""
    return nn.Sequential(
        nn.Conv2d(1, 48, 5, padding=2), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(48, 96, 3, padding=1), nn.GELU(),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, 64), nn.GELU(), nn.Linear(64, 10),
    )  # fmt: skip


def train_net(net: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, seed: int, lr: float) -> nn.Module:
    """Cross-entropy, SGD with momentum, cosine, random shifts of one pixel."""
    torch.manual_seed(seed)
    for module in net.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    x, y = pixels(images), torch.tensor(labels)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(32):
            dy, dx = torch.randint(-1, 2, (2,)).tolist()
            batch = nn.functional.pad(x[rows], (1, 1, 1, 1), value=-1.0)[:, :, 1 + dy : 9 + dy, 1 + dx : 9 + dx]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(batch), y[rows]).backward()
            optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def pixels(images: np.ndarray) -> Tensor:
    """uint8 (n, h, w, c) -> float (n, c, h, w) in [-1, 1], what both networks read."""
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


class NetGuide:
    """A network as the guide of a generator with values in [-1, 1]."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.net(x).log_softmax(1).gather(1, labels[:, None])[:, 0]


def spread(images: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes and pixels of the standard deviation within a class, on a 0..1 scale."""
    return float(np.mean([(images[labels == k] / 255).std(0).mean() for k in np.unique(labels)]))


def nearest(a: np.ndarray, b: np.ndarray, same: bool = False) -> np.ndarray:
    """Euclidean pixel distance of each image of a (n, ...) to its nearest in b, itself left out where a is b."""
    distance = torch.cdist(
        torch.as_tensor(a.reshape(len(a), -1)).float(), torch.as_tensor(b.reshape(len(b), -1)).float()
    )
    if same:
        distance.fill_diagonal_(float("inf"))
    return distance.min(1).values.numpy()


def measure(images: np.ndarray, labels: np.ndarray, judge: nn.Sequential, data: Mapping[str, Any]) -> dict[str, float]:
    """Rates, distances and diversity of one set of samples."""
    x = pixels(images)
    hit = (judge(x).argmax(1).numpy() == labels).astype(float)
    radius = np.percentile(nearest(data["train"], data["train"], same=True), 1)
    real, real_labels = data["balanced"]
    return {
        "target": float(hit.mean()),
        "rare3": float(hit[labels >= 7].mean()),
        "fd": frechet_from_features(judge[:-1](x).numpy(), judge[:-1](pixels(real)).numpy()),
        "diversity": spread(images, labels) / spread(real, real_labels),
        "memorised": float((nearest(images, data["train"]) < radius).mean()),
        "saturated": float(np.isin(images, (0, 255)).mean()),
    }


def experiment(
    seed: int, guide_kind: str, fits: list[int], given: dict[str, Any], cases: list[dict[str, Any]], samples: int
) -> dict[str, Any]:
    """Train guide, judge and generator from `seed`, sample every case, print and return the rows."""
    train, balanced, test = digits()
    guide = train_net(guide_net(guide_kind), train.images, train.labels, 60, seed, 0.02)
    judge = train_net(judge_net(), balanced.images, balanced.labels, 40, seed + 1000, 0.02)
    assert isinstance(judge, nn.Sequential)
    accuracy = {
        name: float((net(pixels(test.images)).argmax(1).numpy() == test.labels).mean())
        for name, net in (("guide", guide), ("judge", judge))
    }
    data = {"train": train.images, "balanced": (balanced.images, balanced.labels)}
    floor = frechet_from_features(judge[:-1](pixels(test.images)).numpy(), judge[:-1](pixels(balanced.images)).numpy())
    report: dict[str, Any] = {
        "seed": seed,
        "guide": guide_kind,
        "options": given,
        "train_counts": np.bincount(train.labels).tolist(),
        "test_accuracy": accuracy,
        "real_test": {"n": len(test), "fd": floor, "saturated": float(np.isin(test.images, (0, 255)).mean())},
        "rows": [],
    }
    print({k: v for k, v in report.items() if k != "rows"}, flush=True)
    tier = ltbench.build("generator", "guided-ddpm").TIERS["tiny"]
    for steps in fits:
        options = {**tier, "train_steps": steps, **given}
        begin = time.perf_counter()
        fitted = ltbench.build("generator", "guided-ddpm", **options)
        fitted.fit(train, BenchContext(train, 10, seed))
        seconds = time.perf_counter() - begin
        for case in cases:
            generator = ltbench.build("generator", "guided-ddpm", **{**options, **case})
            vars(generator).update({k: v for k, v in vars(fitted).items() if k not in vars(generator)})
            begin = time.perf_counter()
            counts = np.full(10, samples // 10)
            made = generator.sample(counts, guide=NetGuide(guide), rng=np.random.default_rng(seed))
            row = {"fit_steps": steps, "fit_seconds": seconds, "sample_seconds": time.perf_counter() - begin, **case}
            row |= {**measure(*made, judge, data), **{k: v for k, v in generator.notes().items() if k != "saturated"}}
            report["rows"].append(row)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return report


def main() -> None:
    """Run and write JSON; one line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit-steps", type=int, nargs="+", default=[1500])
    parser.add_argument("--set", dest="options", nargs="*", default=[], help="generator option=value (JSON)")
    parser.add_argument("--guide", choices=["small_cnn", "batch_norm"], default="small_cnn")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", type=int, nargs="*", help="indices into the list of cases; default all")
    parser.add_argument("--out", type=Path, default=Path("guidance_digits.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    given = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in args.options)}
    cases = [CASES[i] for i in args.cases] if args.cases else CASES
    runs = []
    for seed in args.seeds:
        runs.append(experiment(seed, args.guide, args.fit_steps, given, cases, args.samples))
        args.out.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
