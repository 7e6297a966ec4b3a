"""Noise schedules and what a network's output means under them: pure functions in float64, no networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ltbench.errors import UserError

STEPS = 1000  # T, the number of noise levels in training
RANGES = {  # first and last beta
    "linear": (1e-4, 0.02),  # Ho et al. 2020
    "scaled-linear": (0.00085, 0.012),  # Rombach et al. 2022, Stable Diffusion
    "scaled-linear-ldm": (0.0015, 0.0155),  # Rombach et al. 2022, class-conditional LDM; HistoDiffusion
}
SCHEDULES = ("linear", "cosine", "scaled-linear", "scaled-linear-ldm")
PREDICTIONS = ("epsilon", "v_prediction")


def alphas_cumprod(schedule: str, *, zero_snr: bool = False) -> Tensor:
    """abar_t float64 (1000,), decreasing; x_t = sqrt(abar) x0 + sqrt(1 - abar) eps.

    linear: Ho et al. 2020; cosine: Nichol and Dhariwal 2021, equation 17, beta <= 0.999; scaled-linear: linear in
    sqrt(beta). zero_snr: rescaled so that abar_999 = 0 (Lin et al. 2024, algorithm 1).
    """
    if schedule == "cosine":
        f = torch.cos((torch.linspace(0, 1, STEPS + 1, dtype=torch.float64) + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    else:
        first, last = RANGES[schedule]
        power = 1.0 if schedule == "linear" else 2.0
        ends = (first ** (1 / power), last ** (1 / power))
        betas = torch.linspace(*ends, STEPS, dtype=torch.float64) ** power
    abar = torch.cumprod(1 - betas, 0)
    return rescaled_zero_snr(abar) if zero_snr else abar


def rescaled_zero_snr(abar: Tensor) -> Tensor:
    """abar (T,) with sqrt(abar) shifted and scaled to end at exactly 0 and to keep its first value."""
    root = abar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def split(output: Tensor, x: Tensor, abar: float, prediction: str) -> tuple[Tensor, Tensor]:
    """Estimates (x0, eps), each (B, ...), that a network's output at x_t (B, ...) means.

    "v_prediction": v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans and Ho 2022), which holds at abar = 0 too.
    """
    signal, noise = abar**0.5, (1 - abar) ** 0.5
    if prediction == "epsilon":
        return (x - noise * output) / signal, output
    return signal * x - noise * output, signal * output + noise * x


def clipped(x0: Tensor, eps: Tensor, x: Tensor, abar: float, bound: float | None) -> tuple[Tensor, Tensor]:
    """x0 clamped to [-bound, bound] and the noise that agrees with it at x_t; unchanged where bound is None."""
    if bound is None:
        return x0, eps
    x0 = x0.clamp(-bound, bound)
    return x0, (x - abar**0.5 * x0) / (1 - abar) ** 0.5


def target(x0: Tensor, eps: Tensor, abar: Tensor, prediction: str) -> Tensor:
    """What the network is to predict (B, ...), for abar (B, 1, ...): eps or v."""
    return eps if prediction == "epsilon" else abar.sqrt() * eps - (1 - abar).sqrt() * x0


def min_snr_weight(abar: Tensor, gamma: float, prediction: str) -> Tensor:
    """Loss weight min(snr, gamma) / snr of eps, / (snr + 1) of v (Hang et al. 2023, section 3.4); shape of abar."""
    snr = abar / (1 - abar)
    capped = snr.clamp(max=gamma)
    return capped / snr if prediction == "epsilon" else capped / (snr + 1)


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, c_noise, shaped as sigma (Karras et al. 2022, table 1)."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Loss weight lambda(sigma) = 1 / c_out^2 (Karras et al. 2022, table 1)."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def edm_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """sigma float64 (steps + 1,): sigma_max down to sigma_min, then 0 (Karras et al. 2022, equation 5)."""
    if steps < 2:
        raise UserError(f"generator.steps must be at least 2, got {steps}; for example --set generator.steps=12")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    sigmas = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
