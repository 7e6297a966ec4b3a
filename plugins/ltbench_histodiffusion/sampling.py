"""Guidance by a noise-aware classifier in latent space, free of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ltbench_diffusion.samplers import Denoiser
from ltbench_diffusion.schedules import clipped, split
from torch import Tensor

T = 1000
FORMS = ("score", "mean_shift")


def kept_steps(steps: int, offset: int = 1) -> list[int]:
    """The times visited, falling to `offset`: 996, 991, .., 1 for 200 steps, as in the released code."""
    return [min(i * T // steps + offset, T - 1) for i in reversed(range(steps))]


def guided(
    predict: Callable[[Tensor, int], Tensor],
    gradient: Callable[[Tensor, int], Tensor] | None,
    times: Sequence[int],
    levels: Sequence[float],
    *,
    scale: float,
    form: str = "score",
    prediction: str = "epsilon",
    bound: float | None = None,
) -> Denoiser:
    """A denoiser (z, t) -> (x0, eps) led by gradient(z, t) = grad log p(y | z_t, t), each (B, ...).

    "score": eps_hat = eps - scale sqrt(1 - abar) G (Dhariwal and Nichol 2021, algorithm 2). "mean_shift": the shift
    scale Sigma G of the ancestral mean (Ye et al. 2023, equation 7), written as the noise that causes it; it needs an
    ancestral step (DDIM with eta = 1). bound: x0 is clamped to [-bound, bound] before the guidance. levels: abar at
    the times and after the last one.
    """
    place = {t: i for i, t in enumerate(times)}

    def denoise(z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        now, after = levels[place[t]], levels[place[t] + 1]
        _, eps = clipped(*split(predict(z, t), z, now, prediction), z, now, bound)
        if gradient is not None and scale:
            eps = eps - scale * guidance_weight(now, after, form) * gradient(z, t)
        return (z - (1 - now) ** 0.5 * eps) / now**0.5, eps

    return denoise


def guidance_weight(now: float, after: float, form: str) -> float:
    """What multiplies the gradient in eps_hat = eps - scale * weight * G for a step from abar `now` to `after`."""
    if form == "score":
        return (1 - now) ** 0.5
    beta = 1 - now / after
    variance = beta * (1 - after) / (1 - now)
    return variance * (1 - beta) ** 0.5 * (1 - now) ** 0.5 / beta
