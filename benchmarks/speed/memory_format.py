"""What channels_last saves on this machine: a network's time in it over its time in the contiguous format, in pairs.

"training" is forward and backward of a batch, "inference" a forward without gradients; images as the loader gives them.

Run: python benchmarks/speed/memory_format.py [--pairs 30] [--device cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ltbench_diffusion.unet import build_unet
from paired import interval, paired

from ltbench.models.nets import build_backbone

HERE = Path(__file__).resolve().parent
CASES = [  # backbone, px, channels, batch: what the protocols use, and the crops of DiffMIC's guide
    ("small_cnn", 8, 1, 32),
    ("small_cnn", 28, 1, 32),
    ("small_resnet", 16, 3, 192),
    ("resnet10t", 28, 1, 32),
    ("resnet10t", 64, 3, 32),
    ("resnet18", 64, 3, 32),
    ("mobilenetv2_100", 64, 3, 32),
    ("unet", 32, 3, 64),  # of tier `tiny`
]


class TinyUNet(torch.nn.Module):
    """The diffusion network of tier `tiny` at one time step, as a module of images (B, c, h, w) alone."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.net = build_unet(
            size=size, channels=channels, widths=(32, 32, 64), blocks=1, attention=4, num_classes=6, dropout=0.0
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Output (B, c, h, w)."""
        labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        output: torch.Tensor = self.net(x, labels + 500, class_labels=labels).sample
        return output


def build(name: str, channels: int, size: int) -> torch.nn.Module:
    """A backbone, or the U-Net."""
    return TinyUNet(channels, size) if name == "unet" else build_backbone(name, channels, size, "none", None)


def measure(case: tuple[str, int, int, int], device: str, pairs: int) -> dict[str, dict[str, float]]:
    """Ratios of training and of inference for one network."""
    name, size, channels, batch = case
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    contiguous = build(name, channels, size).to(device)
    last = copy.deepcopy(contiguous).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(batch, channels, size, size, device=device)

    def train(net: torch.nn.Module) -> None:
        net.train()(x).square().mean().backward()
        if device != "cpu":
            torch.cuda.synchronize()

    @torch.no_grad()
    def infer(net: torch.nn.Module) -> None:
        net.eval()(x)
        if device != "cpu":
            torch.cuda.synchronize()

    found = {}
    for what, work in (("training", train), ("inference", infer)):
        for net in (contiguous, last, contiguous, last):
            work(net)
        found[what] = interval(paired(lambda w=work: w(contiguous), lambda w=work: w(last), pairs, rng), rng)  # type: ignore[misc]
    return found


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="default: results/memory_format_DEVICE.json")
    args = parser.parse_args()
    out = args.out or HERE / "results" / f"memory_format_{args.device}.json"
    rows: list[dict[str, Any]] = []
    for threads in sorted({1, torch.get_num_threads()}) if args.device == "cpu" else [torch.get_num_threads()]:
        torch.set_num_threads(threads)
        for case in CASES:
            row = {"backbone": case[0], "px": case[1], "batch": case[3], "threads": threads}
            rows.append(row | measure(case, args.device, args.pairs))
            print(json.dumps(rows[-1]), flush=True)
    facts = {"torch": torch.__version__, "machine": platform.machine(), "device": args.device, "pairs": args.pairs}
    out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
