"""Does the tuned decoder D' of HistoDiffusion rebuild labelled images better than D, and in their class?

Fits the generator as a `quick` cell would, without and with `decoder_tuning` (both share autoencoder, diffusion model
and latent classifier), and rebuilds the validation images, which no fit has seen, by either decoder: absolute error a
pixel in [-1, 1]; cross-entropy of two classifiers, the one that the tuning listens to (`heard`) and the judge of the
protocol, another network; beside them the cross-entropy on the images themselves. Then draws up to 40 images a class:
the rate at which the judge names the wanted class, and the Frechet distance to the training images on the features of
the first classifier.

    LTBENCH_DATA=DIR python benchmarks/decoder_tuning.py --out benchmarks/results/decoder_tuning.json \\
        --set protocol.max_train=315 protocol.image_size=64 generator.max_size=64 generator.ae_widths=[16,32,32] \\
        generator.ae_batch=16 generator.ae_steps=1500 generator.perceptual_path=WEIGHTS \\
        generator.adversarial_weight=0.5 generator.adversarial_start=750
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltbench.interfaces import ReferenceModel
from ltbench.launch.local import gather, open_context, say
from ltbench.metrics import frechet_from_features
from ltbench.models.images import resize_images, to_signed, to_uint8
from ltbench.recipe import parse_set

MOST = 40  # images of a class
BATCH = 64


def signed(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (n, h, w, c) as float (n, c, h, w) in [-1, 1]."""
    return to_signed(torch.tensor(images).permute(0, 3, 1, 2).contiguous()).to(device)


def named(model: ReferenceModel, images: np.ndarray, classes: int, device: torch.device) -> np.ndarray:
    """The class that a frozen classifier finds likeliest, int64 (n,)."""
    with torch.inference_mode():
        x = signed(images, device)
        logs = [model.log_prob(x, torch.full((len(x),), k, device=device)) for k in range(classes)]
    return torch.stack(logs).argmax(0).cpu().numpy()


def rebuilt(coder: Any, images: np.ndarray, device: torch.device) -> np.ndarray:
    """The images (n, h, w, c), uint8, encoded and decoded."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            parts.append(to_uint8(coder.decode(coder.encode(signed(images[start : start + BATCH], device)))))
    return np.concatenate(parts)


def entropy(model: ReferenceModel, images: np.ndarray, labels: np.ndarray, device: torch.device) -> float:
    """Mean cross-entropy of a frozen classifier."""
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            total -= float(model.log_prob(signed(images[part], device), torch.tensor(labels[part]).to(device)).sum())
    return total / len(images)


def one(tuned: bool, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fit, rebuild, draw and measure with one of the two decoders."""
    spec = {"generator": {"name": "histodiffusion", "decoder_tuning": tuned}}
    job = gather(spec, args.dataset, "quick", args.seed, parse_set(args.set), None, args.device)
    context = open_context(job, folder, args.device, say)
    generator = context.fit_generator(job.cell.recipe["generator"])
    heard, judge, val, train = context.reference("guide"), context.reference("judge"), job.data.val, context.train
    real = resize_images(val.images, generator.size)
    made = rebuilt(generator.coder, real, context.device)
    counts = np.minimum(context.task.class_counts, MOST)
    context.at("measure", 0)
    images, labels = generator.sample(counts, guide=None, rng=context.rng("draw"))
    target = heard.features(resize_images(train.images, generator.size))
    return {
        "decoder_tuning": tuned,
        "dataset": args.dataset,
        "seed": args.seed,
        "set": args.set,
        "px": generator.size,
        "latent": generator.coder.shape,
        "n_val": len(val.labels),
        "l1": float(np.abs(made.astype(float) - real).mean() / 127.5),
        "ce_heard": entropy(heard, made, val.labels, context.device),
        "ce_heard_real": entropy(heard, real, val.labels, context.device),
        "ce_judge": entropy(judge, made, val.labels, context.device),
        "ce_judge_real": entropy(judge, real, val.labels, context.device),
        "n_drawn": len(images),
        "rate": float((named(judge, images, len(counts), context.device) == labels).mean()),
        "fd": frechet_from_features(heard.features(images), target),
        "extractor": heard.name,
        "fit_seconds": {name: phase["seconds"] for name, phase in context.cost.phases.items()},
        "notes": generator.notes(),
    }


def main() -> None:
    """Run both, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="crc-polyp-he")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE, as for ltbench run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="keeps checkpoints; a run after a kill goes on from there")
    parser.add_argument("--out", type=Path, default=Path("decoder_tuning.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = []
        for tuned in (False, True):
            results.append(one(tuned, args, folder))
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in results[-1].items()}, flush=True)
            args.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
