"""What drawing few images at once saves on a CPU: time to sample under `CPU_PIXELS` over that in one batch, in pairs.

The generator is fitted for a few steps with its default networks, on random images of the size asked for.

Run: python benchmarks/speed/draw_batch.py [--pairs 10] [--images 256] [--size 64] [--out FILE]
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
CASES: dict[str, dict[str, Any]] = {
    "synclass": {"train_steps": 2, "steps": 2},
    "edm": {"train_steps": 2, "steps": 2},
    "ldm": {"train_steps": 2, "ae_steps": 2, "steps": 2},
    "stylegan2-ada": {"kimg": 0.064, "snapshot_images": 2},
}


def measure(name: str, size: int, images: int, pairs: int) -> dict[str, float]:
    """Ratio for one generator."""
    options = plugins().registry.get("generator", name).defaults() | CASES[name] | {"sample_batch": images}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        context = tiny_context(Path(folder), protocol={"image_size": size, "stored_size": size})
        generator = ltbench.build("generator", name, **options)
        context.fit(generator, {"name": name, **options})
        counts = np.full(context.task.num_classes, images // context.task.num_classes)

        def draw(pixels: int) -> None:
            drawing.CPU_PIXELS = pixels
            generator.sample(counts, guide=None, rng=np.random.default_rng(1))

        few, whole = drawing.CPU_PIXELS, images * size * size
        for pixels in (few, whole):
            draw(pixels)
        return interval(paired(lambda: draw(whole), lambda: draw(few), pairs, rng), rng)


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "draw_batch.json")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        for name in CASES:
            row: dict[str, Any] = {"generator": name, "threads": threads}
            rows.append(row | measure(name, args.size, args.images, args.pairs))
            print(json.dumps(rows[-1]), flush=True)
    facts = {"torch": torch.__version__, "machine": platform.machine(), "pixels": drawing.CPU_PIXELS}
    asked = {"images": args.images, "size": args.size, "pairs": args.pairs}
    args.out.write_text(json.dumps({**facts, **asked, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
