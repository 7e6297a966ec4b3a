"""What drawing few images at once saves on a CPU: time to sample under `CPU_PIXELS` over that in one batch, in pairs.

The generator is fitted for a few steps with its default networks, on random images of the size given. Two steps of a
diffusion chain are timed, of 20 alike.

Run: python benchmarks/speed/draw_batch.py [--pairs 10] [--images 256] [--out FILE]
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
from ltbench.models import drawing
from ltbench.plugins import plugins
from ltbench.testing.tiny import tiny_context

HERE = Path(__file__).resolve().parent
LIMIT = drawing.CPU_PIXELS
CASES: list[tuple[str, int, dict[str, Any]]] = [  # generator, px of its images, options of a short fit
    ("synclass", 32, {"train_steps": 2, "steps": 2}),
    ("edm", 32, {"train_steps": 2, "steps": 2}),
    ("ldm", 32, {"train_steps": 2, "ae_steps": 2, "steps": 2}),
    ("stylegan2-ada", 64, {"kimg": 0.064, "snapshot_images": 2}),
]


def measure(name: str, size: int, short: dict[str, Any], images: int, pairs: int) -> dict[str, float]:
    """Ratio for one generator."""
    options = plugins().registry.get("generator", name).defaults() | short
    options |= {"sample_batch": images, "max_size": size}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        context = tiny_context(Path(folder), protocol={"image_size": size, "stored_size": size})
        generator = ltbench.build("generator", name, **options)
        context.fit(generator, {"name": name, **options})
        counts = np.full(context.task.num_classes, images // context.task.num_classes)

        def draw(pixels: int) -> None:
            drawing.CPU_PIXELS = pixels
            generator.sample(counts, guide=None, rng=np.random.default_rng(1))

        try:
            for pixels in (LIMIT, images * size * size):
                draw(pixels)
            return interval(paired(lambda: draw(images * size * size), lambda: draw(LIMIT), pairs, rng), rng)
        finally:
            drawing.CPU_PIXELS = LIMIT


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "draw_batch.json")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        for name, size, short in CASES:
            row: dict[str, Any] = {"generator": name, "px": size, "threads": threads}
            rows.append(row | measure(name, size, short, args.images, args.pairs))
            print(json.dumps(rows[-1]), flush=True)
    facts = {"torch": torch.__version__, "machine": platform.machine(), "pixels": LIMIT}
    asked = {"images": args.images, "pairs": args.pairs}
    args.out.write_text(json.dumps({**facts, **asked, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
