"""Reverse processes as pure functions of a denoiser; the noise of stochastic ones is given by the caller.

A denoiser maps x_t (B, ...) and t to the estimates (x0, eps). `levels` are the values of abar along the way: one for
each timestep, and the level of the result behind them (1 for a clean image).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ltbench.errors import UserError

Denoiser = Callable[[Tensor, int], tuple[Tensor, Tensor]]
Noise = Callable[[int], Tensor]  # number of the step -> standard normal, shaped as x
SAMPLERS = ("ddim", "dpm++", "ddpm")
SPACINGS = ("linspace", "trailing", "logsnr", "karras")
RHO = 7.0


def timesteps(abar: Tensor, steps: int, spacing: str = "linspace") -> list[int]:
    """At most `steps` different timesteps, the first the noisiest one, decreasing; abar (T,).

    linspace: equally spaced, the last 0. trailing: T - 1, T - 1 - T / steps, ... (Lin et al. 2024). logsnr: equally
    spaced in log(abar / (1 - abar)). karras: in ((1 - abar) / abar)^(1 / 14) (Karras et al. 2022, equation 5). The
    last two round to the nearest timestep and drop duplicates; with abar = 0 they continue from the next level.
    """
    if steps < 2:
        raise UserError(f"generator.steps must be at least 2, got {steps}; for example --set generator.steps=20")
    if spacing == "linspace":
        found = torch.linspace(len(abar) - 1, 0, steps, dtype=torch.float64).round()
    elif spacing == "trailing":
        found = torch.linspace(len(abar), len(abar) / steps, steps, dtype=torch.float64).round() - 1
    else:
        ratio = abar / (1 - abar)
        scale = 0.5 * ratio.log() if spacing == "logsnr" else ratio ** (-0.5 / RHO)
        last = len(abar) - 1 if abar[-1] > 0 else len(abar) - 2
        wanted = torch.linspace(float(scale[last]), float(scale[0]), steps, dtype=torch.float64)
        found = (scale[None] - wanted[:, None]).abs().argmin(1)
        if last < len(abar) - 1:
            found[0] = len(abar) - 1
    return list(dict.fromkeys(int(t) for t in found))


def levels(abar: Tensor, ts: Sequence[int], final: float = 1.0) -> list[float]:
    """abar at the timesteps, then the final level."""
    return [*(float(abar[t]) for t in ts), final]


@torch.no_grad()
def ddim(
    model: Denoiser, x: Tensor, ts: Sequence[int], at: Sequence[float], *, eta: float = 0.0, noise: Noise | None = None
) -> Tensor:
    """Song et al. 2021, equation 12: eta 0 is deterministic, 1 is ancestral sampling (DDPM) on the timesteps."""
    for i, t in enumerate(ts):
        x0, eps = model(x, t)
        now, then = at[i], at[i + 1]
        spread = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
        x = then**0.5 * x0 + max(1 - then - spread**2, 0.0) ** 0.5 * eps
        if spread > 0 and noise is not None:
            x = x + spread * noise(i)
    return x


@torch.no_grad()
def dpm_solver(
    model: Denoiser, x: Tensor, ts: Sequence[int], at: Sequence[float], *, lower_order_final: bool = True
) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, algorithm 2): data prediction, the first step of first order.

    lower_order_final: the last step of first order too; always so where it ends at abar = 1.
    """
    before, h_before = x, 0.0
    for i, t in enumerate(ts):
        x0, _ = model(x, t)
        now, then = at[i], at[i + 1]
        h = _half_log_snr(then) - _half_log_snr(now)
        first = i == 0 or then == 1 or (lower_order_final and i == len(ts) - 1)
        data = x0 if first else x0 + h / (2 * h_before) * (x0 - before)
        ratio = ((1 - then) / (1 - now)) ** 0.5
        x = ratio * x + (then**0.5 - ratio * now**0.5) * data
        before, h_before = x0, h
    return x


def _half_log_snr(abar: float) -> float:
    level = torch.tensor(abar, dtype=torch.float64)
    return float(0.5 * (level.log() - (1 - level).log()))


@torch.no_grad()
def invert(model: Denoiser, x: Tensor, ts: Sequence[int], at: Sequence[float]) -> Tensor:
    """DDIM run backwards, from x at at[-1] up to at[0], for timesteps ts (n + 1,) and levels at (n + 1,), both falling.

    The way back is ddim(model, x, ts[:-1], at). Source: Su et al. 2023, Dual Diffusion Implicit Bridges.
    """
    for t, then in zip(reversed(ts[1:]), reversed(at[:-1]), strict=True):
        x0, eps = model(x, t)
        x = then**0.5 * x0 + (1 - then) ** 0.5 * eps
    return x


@torch.no_grad()
def heun(denoise: Callable[[Tensor, float], Tensor], x: Tensor, sigmas: Sequence[float], *, order: int = 2) -> Tensor:
    """x0 (B, ...) from x (B, ...) of standard deviation sigmas[0]; denoise(x, sigma) estimates x0.

    Karras et al. 2022, algorithm 1: one correction a step, none where sigma reaches 0; order 1 is Euler.
    """
    for now, then in itertools.pairwise(sigmas):
        slope = (x - denoise(x, now)) / now
        ahead = x + (then - now) * slope
        if order == 2 and then > 0:
            slope = (slope + (ahead - denoise(ahead, then)) / then) / 2
            ahead = x + (then - now) * slope
        x = ahead
    return x


def bridge_timesteps(abar: Tensor, steps: int, floor: float = 4e-5) -> list[int]:
    """steps + 1 timesteps from the noisiest level above `floor` down to 0, equally spaced in log-SNR.

    Below the floor a single step changes the scale of x many times over, and a round trip loses the image.
    """
    return timesteps(abar[: int((abar > floor).sum())], steps + 1, "logsnr")
