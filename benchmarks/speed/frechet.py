"""Speed of the Frechet distance with a cached real side: the factored form against scipy's matrix square root.

Run: python benchmarks/speed/frechet.py [--out FILE]; one thread of BLAS, some ten minutes.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy is imported

import numpy as np
import scipy
from paired import interval, paired
from scipy.linalg import sqrtm

from ltbench.metrics import FeatureStats, frechet

HERE = Path(__file__).resolve().parent
D = 2048
SETTINGS = {"n5000": (5000, 4, 5.0), "n500": (500, 4, 100.0)}  # images a side, pairs, ratio that is asked for


def features(n: int, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Correlated non-negative features (n, D), as pooled activations are."""
    return np.maximum(rng.normal(size=(n, D)) @ mix + 0.3, 0.0) + 0.05 * rng.random((n, D))


def plain(real: tuple[np.ndarray, np.ndarray], fake: np.ndarray) -> float:
    """The arithmetic of pytorch-fid: covariance and matrix square root of the product."""
    mean, cov = fake.mean(axis=0), np.cov(fake, rowvar=False)
    gap = real[0] - mean
    return float(gap @ gap + np.trace(real[1]) + np.trace(cov) - 2 * np.trace(sqrtm(real[1] @ cov)).real)


def measure(n: int, pairs: int, target: float, rng: np.random.Generator) -> dict[str, object]:
    """Ratio plain / factored, the control A against A, and agreement on the features of the last pair."""
    mix = rng.normal(size=(D, D)) / D**0.5 * np.linspace(0.3, 1.5, D)
    real = features(n, mix, rng)
    moments, stats = (real.mean(axis=0), np.cov(real, rowvar=False)), FeatureStats.of(real).compact()
    values: dict[str, float] = {}
    ratios: list[float] = []
    control: list[float] = []
    for _ in range(pairs):
        fake = 1.1 * features(n, mix, rng)

        def fast(fake: np.ndarray = fake) -> None:
            values["factored"] = frechet(stats, FeatureStats.of(fake)).value

        def slow(fake: np.ndarray = fake) -> None:
            values["plain"] = plain(moments, fake)

        ratios += paired(fast, slow, 1, rng)
        control += paired(fast, fast, 5, rng)
    difference = abs(values["factored"] / values["plain"] - 1)
    return {
        "n": n,
        "d": D,
        "pairs": pairs,
        "speedup": interval(ratios, rng),
        "target": target,
        "control_a_against_a": interval(control, rng),
        "relative_difference": difference,
        "values": dict(values),
        "full_rank": n > D,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "frechet.json")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    measured = {name: measure(*setting, rng) for name, setting in SETTINGS.items()}
    result = {
        **measured,
        "threads": 1,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
        "load_average": os.getloadavg()[0],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
