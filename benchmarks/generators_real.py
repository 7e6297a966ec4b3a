"""Generators on real images: are the samples of their class, and nearer to real images than noise and blur are?

Fits a generator as a `quick` cell would, draws up to 40 images a class (at most half as many as it has), and measures:
rate, at which a judge names the wanted class, beside its rate on validation images in the same class mix; the judge is
a classifier of the protocol's judge architecture, trained with class-balanced batches, since one trained on the tail as
it is never names the rarest classes. fd on the features of the reference classifier, against training images in the
same class mix, of the samples, of as many noise images, of as many other training images blurred with sigma 2 px at the
generator's size, and of these as they are (floor). Writes a picture: a row of ten samples of each class, and below each
sample its nearest training image. A killed run starts again; give --folder, and its fits resume.

    LTBENCH_DATA=DIR python benchmarks/generators_real.py --dataset aptos ham10000 --generators ddpm stylegan2-ada \\
        --out benchmarks/results
    LTBENCH_DATA=DIR python benchmarks/generators_real.py --dataset aptos ham10000 --generators ddpm --suffix _long \\
        --set protocol.image_size=32 protocol.max_train=none generator.train_steps=2000 --out benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from ltbench.engine.evaluate import Evaluator
from ltbench.engine.reference import JUDGE_SEED
from ltbench.engine.run import Run
from ltbench.launch.local import gather, open_context, say
from ltbench.metrics import frechet_from_features
from ltbench.models.images import resize_images
from ltbench.recipe import parse_set

SHOWN, MOST = 10, 40  # images of a class in the picture, and in the measures


def rows_of(labels: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """counts[k] random rows of each class k, without replacement, int64 (n,)."""
    return np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:n] for k, n in enumerate(counts)])


def nearest(images: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The real image nearest to each image in pixels, (n, h, w, c)."""
    a, b = (x.reshape(len(x), -1).astype(np.float32) for x in (images, real))
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return real[square.argmin(1)]


def picture(images: np.ndarray, labels: np.ndarray, real: np.ndarray, classes: int) -> Image.Image:
    """Two rows a class: samples, and the nearest training image below each."""
    side = images.shape[1]
    sheet = np.full((2 * classes * side, SHOWN * side, images.shape[3]), 255, np.uint8)
    for k in range(classes):
        mine = images[labels == k][:SHOWN]
        for row, line in enumerate((mine, nearest(mine, real))):
            for column, image in enumerate(line):
                top = (2 * k + row) * side
                sheet[top : top + side, column * side : (column + 1) * side] = image
    grown = Image.fromarray(sheet.squeeze())
    return grown.resize((grown.width * 2, grown.height * 2), Image.Resampling.NEAREST)


def train_judge(protocol: dict[str, Any], overrides: dict[str, Any], dataset: str, device: str, folder: Path) -> Run:
    """A classifier of the protocol's judge architecture, trained with class-balanced batches."""
    known = {key: value for key, value in overrides.items() if key.startswith("protocol.")}
    chosen = {**known, "protocol.backbone": protocol["judge"]}
    job = gather("class-balanced", dataset, "quick", JUDGE_SEED, chosen, None, device)
    own = folder / f"judge-{job.cell.hash[:8]}"
    own.mkdir(exist_ok=True)
    context = open_context(job, own, device, say)
    run = Run(context, job.cell.hash, lambda epoch, line: say(f"judge: epoch {epoch + 1} of {protocol['epochs']}"))
    run.train()
    return run


def one(dataset: str, name: str, args: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Image.Image]:
    """Fit, draw and measure one generator on one data set."""
    overrides = parse_set(args.set)
    job = gather({"generator": name}, dataset, "quick", 0, overrides, None, args.device)
    context = open_context(job, folder, args.device, say)
    train, rng = context.train, np.random.default_rng(0)
    generator = context.fit_generator(job.cell.recipe["generator"])
    fit_seconds = {k: v["seconds"] for k, v in context.cost.phases.items()}
    reference = context.reference("features")
    judge = train_judge(job.cell.recipe["protocol"], overrides, dataset, args.device, folder)
    context.at("measure", 0)
    counts = np.minimum(context.task.class_counts // 2, MOST)
    guide: Any = context.reference("guide") if generator.guided else None
    images, labels = generator.sample(counts, guide=guide, rng=context.rng("draw"))
    side = images.shape[1]
    real = resize_images(train.images, side)
    some = rows_of(train.labels, counts, rng)
    blurred = np.stack([gaussian_filter(image, (2, 2, 0)) for image in real[some]])
    noise = rng.integers(0, 256, real[some].shape).astype(np.uint8)
    rest = np.setdiff1d(np.arange(len(train)), some)  # those compared with must not be their own reference
    mixed = np.concatenate([rng.choice(rest[train.labels[rest] == k], 8 * n) for k, n in enumerate(counts)])
    stored = job.data.val.images.shape[1]
    evaluator = Evaluator(judge.classifier, judge.context)
    named = evaluator.predict(resize_images(images, stored), "samples").argmax(1)
    val = job.data.val
    right = evaluator.predict(val.images, "val").argmax(1) == val.labels
    recall = np.array([right[val.labels == k].mean() for k in range(len(counts))])
    known = reference.features(real)
    target = known[mixed]
    result = {
        "dataset": dataset,
        "generator": name,
        "set": args.set,
        "px": side,
        "n": len(images),
        "asked": int(counts.sum()),
        "rate": float((named == labels).mean()),
        "rate_of_real": float(recall @ counts / counts.sum()),
        "rate_by_class": [round(float((named[labels == k] == k).mean()), 3) for k in range(len(counts))],
        "rate_by_class_of_real": [round(float(value), 3) for value in recall],
        "judge": job.cell.recipe["protocol"]["judge"],
        "fd": frechet_from_features(reference.features(images), target),
        "fd_noise": frechet_from_features(reference.features(noise), target),
        "fd_blur": frechet_from_features(reference.features(blurred), target),
        "fd_floor": frechet_from_features(known[some], target),
        "extractor": reference.name,
        "fit_seconds": fit_seconds,
        "notes": generator.notes(),
    }
    return result, picture(images, labels, real, context.task.num_classes)


def main() -> None:
    """Run, write one JSON and one picture each, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", default=["aptos", "ham10000"])
    parser.add_argument("--generators", nargs="+", default=["ddpm", "stylegan2-ada"])
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE, as for ltbench run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--suffix", default="", help="added to the names of the files written")
    parser.add_argument("--folder", type=Path, help="keeps fits and checkpoints; a run after a kill goes on from there")
    parser.add_argument("--out", type=Path, default=Path())
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for dataset in args.dataset:
            for name in args.generators:
                result, image = one(dataset, name, args, folder)
                stem = f"generators_real_{dataset}_{name}{args.suffix}"
                (args.out / f"{stem}.json").write_text(json.dumps(result, indent=1))
                image.save(args.out / f"{stem}.png", optimize=True)
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}, flush=True)


if __name__ == "__main__":
    main()
