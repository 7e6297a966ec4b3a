"""Speed of the 28 px input pipeline: the batched path against one PIL image at a time, in paired interleaved runs.

Run: python benchmarks/speed/input_pipeline.py [--pairs 41] [--size 28] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from paired import interval, paired, seconds

from ltbench.data.augment import Augmenter

SPEC = {"flip": True, "rotation": 15, "shift": 0.1}
HERE = Path(__file__).resolve().parent


def photographs(n: int, size: int, channels: int, rng: np.random.Generator) -> torch.Tensor:
    """Smooth random images uint8 (n, size, size, channels), never constant."""
    coarse = torch.from_numpy(rng.random((n, channels, 5, 5), dtype=np.float32))
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def passes(augmenter: Augmenter, batches: list[tuple[torch.Tensor, torch.Tensor]], times: int) -> Callable[[], None]:
    """A function that augments all batches `times` times."""

    def work() -> None:
        for _ in range(times):
            for images, params in batches:
                augmenter(images, params)

    return work


def measure(size: int, batch: int, channels: int, pairs: int, seed: int = 0) -> dict[str, object]:
    """Ratio per-image / batched, the control A against A, and agreement on fresh inputs."""
    rng = np.random.default_rng(seed)
    fast, slow = (Augmenter(SPEC, size, path) for path in ("batched", "per-image"))

    def fresh(n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        made = [photographs(batch, size, channels, rng) for _ in range(n)]
        return [(x, torch.from_numpy(rng.random((batch, fast.num_params), dtype=np.float32))) for x in made]

    batches = fresh(8)
    per_pass = min(seconds(passes(fast, batches, 1)) for _ in range(5))
    times = max(1, round(0.06 / per_pass))
    quick, plain = passes(fast, batches, times), passes(slow, batches, 1)
    seconds(plain)
    ratios = [r * times for r in paired(quick, plain, pairs, rng)]
    control = paired(quick, quick, pairs, rng)
    worst = max(float((fast(x, p) - slow(x, p)).abs().max()) for x, p in fresh(4))
    return {
        "size": size,
        "batch": batch,
        "channels": channels,
        "pairs": pairs,
        "speedup": interval(ratios, rng),
        "control_a_against_a": interval(control, rng),
        "largest_difference": worst,
        "agrees": worst < 0.02,
        "batched_images_per_second": round(8 * batch / per_pass),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "input_pipeline.json")
    parser.add_argument("--threads", type=int, default=1, help="of torch; Pillow always uses one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measure(options.size, options.batch, options.channels, options.pairs)
    control = result["control_a_against_a"]
    assert isinstance(control, dict)
    result |= {
        "conclusive": abs(control["median"] - 1) <= 0.03,
        "target": 6.0,
        "spec": SPEC,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
