"""Memory of a generator's training: the peak of the resident set, above that of the process before the fit.

Trains some steps, lazy regularisers included (they run every 4th and 16th step), of the tier `base` on images of 64 px.

Run: python benchmarks/speed/generator_memory.py [--generator stylegan2-ada] [--batch 32] [--steps 17] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch

import ltbench
from ltbench.plugins import plugins
from ltbench.testing.tiny import tiny_context

HERE = Path(__file__).resolve().parent
MEBI = 1 << 20


def peak() -> int:
    """Largest resident set of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Train, measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="stylegan2-ada")
    parser.add_argument("--tier", default="base")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=17)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "generator_memory.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    component = plugins().registry.get("generator", args.generator)
    options = {**component.defaults(), **component.value.TIERS[args.tier], "train_batch": args.batch}
    options |= {"kimg": args.steps * args.batch / 1000, "max_size": args.size, "snapshot_images": 2}
    with tempfile.TemporaryDirectory() as folder:
        context = tiny_context(Path(folder), protocol={"image_size": args.size, "stored_size": args.size})
        context.train.images.sum()
        before, begun = peak(), time.perf_counter()
        generator = ltbench.build("generator", args.generator, **options)
        context.fit(generator, {"name": args.generator, **options})
        seconds = time.perf_counter() - begun
    facts = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items() if key != "out"}
    result = {
        **facts,
        "torch": torch.__version__,
        "device": "cpu",
        "before_mib": round(before / MEBI),
        "peak_above_mib": round((peak() - before) / MEBI),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(result, indent=1))
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
