"""Rows of images that a GAN made, drawn at random or selected, as plain recipes; Ye et al. 2023, table 1.

fidelity: where each value comes from, "paper", "code" (the authors' release) or "assumed" (neither says).
"""

from typing import Any

RESERVE = 3.0  # of the real images: the largest quota of the table, so that smaller ones are its first places


def offline_row(generator: Any, ratio: float, *, select: bool, fidelity: dict[str, str]) -> dict[str, Any]:
    """A pool of ratio times the real images, made once, from a generator's images at random or the selected ones."""
    chosen = {"name": "selective", "base": generator, "oversample": 2.0, "limit": 10.0, "reserve": RESERVE}
    marks = {"generator.oversample": "assumed", "generator.limit": "assumed", "generator.reserve": "assumed"}
    return {
        "classifier": "standard",
        "loss": "ce",
        "sampler": {"name": "fixed-quota", "ratio": ratio},
        "generator": chosen if select else generator,
        "fidelity": {
            "method": "paper",
            "classifier.name": "paper",
            "loss.name": "paper",
            "sampler.ratio": "paper",
            "generator.name": "paper",
            **(marks if select else {}),
            **fidelity,
        },
    }


def _stylegan2(ratio: float, select: bool = True) -> dict[str, Any]:
    return offline_row("stylegan2", ratio, select=select, fidelity={})


STYLEGAN2_RANDOM_50 = _stylegan2(0.5, select=False)
STYLEGAN2_SELECTIVE_50 = _stylegan2(0.5)
STYLEGAN2_SELECTIVE_100 = _stylegan2(1.0)
STYLEGAN2_SELECTIVE_200 = _stylegan2(2.0)
STYLEGAN2_SELECTIVE_300 = _stylegan2(3.0)
