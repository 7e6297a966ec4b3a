"""Inference of diffmic: guide and encoder once for an image, against the encoder inside the loop, in paired runs.

Both sides classify the same images of 64 px, on one thread of a CPU, with T = 60 steps and width 256 (tier tiny), from
the same noise; `gap` is the largest difference of their label vectors in float32 (a test asks 1e-6 of float64).

Run: python benchmarks/speed/diffmic_inference.py [--pairs 20] [--images 64] [--steps 60] [--device cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from ltbench_diffmic.chain import Plan
from paired import interval, paired
from torch import Tensor

from ltbench.testing.tiny import tiny_context, tiny_options

HERE = Path(__file__).resolve().parent
PROTOCOL = {"image_size": 64, "stored_size": 64, "backbone": "resnet10t"}


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "diffmic_inference.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        spec = tiny_options("classifier", "diffmic", width=256, train_steps=1000, steps=args.steps)
        context = tiny_context(Path(folder), protocol=PROTOCOL, classifier=spec, device=args.device)
        classifier = context.component("classifier")
        classifier.setup(context)
        images = rng.integers(0, 256, (args.images, 64, 64, 3)).astype(np.uint8)
        plan = Plan.of("respaced", args.steps, classifier.table)
        noise = torch.randn(args.images, args.steps, 1, 3, generator=context.torch_rng("chain"))

        def once() -> Tensor:
            _, states = classifier.denoised(images, context)
            assert states is not None
            return states[-1, :, 0].cpu()

        def in_the_loop() -> Tensor:
            classifier.nets.eval()
            x = classifier.prepare(torch.tensor(images).to(args.device).permute(0, 3, 1, 2).float() / 255)
            means = classifier._means(x)

            def predict(i: int, y: Tensor) -> Tensor:
                e = classifier.nets["encoder"](x)
                t = torch.full((len(x),), int(plan.indices[i]), device=args.device)
                return classifier.nets["noise"](e, y, means.fused, t)  # type: ignore[no-any-return]

            return plan.run(predict, means.fused, noise[:, :, 0].transpose(0, 1).to(args.device))[-1].cpu()

        gap = float((once() - in_the_loop()).abs().max())
        ratios = paired(once, in_the_loop, args.pairs, rng)
    facts = {"torch": torch.__version__, "machine": platform.machine(), "threads": 1, **vars(args)}
    result = {**facts, "out": None, "gap": gap, "encoder_in_the_loop_over_once": interval(ratios, rng)}
    print(json.dumps(result, indent=1))
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
