"""The guided reverse process, free of networks and images: pure functions of a noise predictor and a log p."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NoisePredictor = Callable[[Tensor, int], Tensor]  # x_t (B, ...), t -> eps (B, ...)
LogProb = Callable[[Tensor, int], Tensor]  # point (B, ...), t -> log p of the wanted class (B,), differentiable

INPUTS = ("x0_pred", "x_t", "x0_pred_full")
FORMS = ("adm", "literal_eq4")
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Guidance:
    """How the gradient g of log p enters the noise: eps_hat = eps - scale * w * g.

    input: where g is taken: "x_t" the noisy image, "x0_pred" the clamped denoised one (network detached, chain factor
    1), "x0_pred_full" through the network. form: "adm" w = sqrt(1 - abar_t) (Dhariwal and Nichol 2021, algorithm 2),
    "literal_eq4" w = 1. clamp: clamp the guided x0 too. start, stop: the guided fractions of the steps.
    """

    scale: float = 1.0
    input: str = "x0_pred"
    form: str = "adm"
    clamp: bool = False
    start: float = 0.0
    stop: float = 1.0

    def active(self, i: int, steps: int) -> bool:
        """Whether step i (0-based) of `steps` is guided."""
        return self.scale != 0 and self.start * steps <= i < self.stop * steps


def ddim_scheduler(train_timesteps: int = 1000) -> Any:
    """diffusers' DDIM with the linear schedule 1e-4 .. 0.02, kept steps .., 2000/S, 1000/S, 0 and final abar 1.

    abar is float64: 1 - abar loses five digits in float32 at the last steps.
    """
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler(
        num_train_timesteps=train_timesteps,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        timestep_spacing="leading",
        steps_offset=0,
        set_alpha_to_one=True,
        clip_sample=False,
    )
    betas = torch.linspace(1e-4, 0.02, train_timesteps, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    return scheduler


def noise_from(output: Tensor, x: Tensor, abar: Tensor | float, prediction: str) -> Tensor:
    """Noise eps (B, ...) that a network's output at x_t means: itself, or v = sqrt(abar) eps - sqrt(1 - abar) x0.

    Source of v: Salimans and Ho 2022, Progressive Distillation, section 4 and appendix D.
    """
    return output if prediction == "epsilon" else abar**0.5 * output + (1 - abar) ** 0.5 * x


def gradient(log_prob: LogProb, point: Tensor, t: int) -> Tensor:
    """Gradient of log p at each point (B, ...): the sum over the batch keeps every sample's own gradient."""
    with torch.enable_grad():
        point = point.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(log_prob(point, t).float().sum(), point)
    return g.detach()


def denoised(x: Tensor, eps: Tensor, abar: float, bound: float | None) -> tuple[Tensor, Tensor]:
    """Estimate of x0 clamped to [-bound, bound] and the noise that agrees with it, both (B, ...)."""
    x0 = (x - (1 - abar) ** 0.5 * eps) / abar**0.5
    if bound is None:
        return x0, eps
    x0 = x0.clamp(-bound, bound)
    return x0, (x - abar**0.5 * x0) / (1 - abar) ** 0.5


def guided_noise(
    model: NoisePredictor,
    x: Tensor,
    t: int,
    abar: float,
    guidance: Guidance,
    log_prob: LogProb | None,
    bound: float | None = 1.0,
) -> tuple[Tensor, Tensor]:
    """eps_hat (B, ...) of one step and which samples (B,) had a non-finite gradient, which counts as zero.

    Order: clamp the unguided x0, derive eps anew, add the guidance; the guided x0 is clamped only with `clamp`.
    """
    bad = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if log_prob is None:
        return denoised(x, model(x, t), abar, bound)[1], bad
    if guidance.input == "x0_pred_full":
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            x0, eps = denoised(point, model(point, t), abar, bound)
            (g,) = torch.autograd.grad(log_prob(x0, t).float().sum(), point)
        eps = eps.detach()
    else:
        x0, eps = denoised(x, model(x, t), abar, bound)
        g = gradient(log_prob, x if guidance.input == "x_t" else x0, t)
    bad = ~torch.isfinite(g).flatten(1).all(1)
    g = torch.where(bad.view(-1, *[1] * (g.ndim - 1)), torch.zeros_like(g), g)
    weight = (1 - abar) ** 0.5 if guidance.form == "adm" else 1.0
    eps = eps - guidance.scale * weight * g
    return (denoised(x, eps, abar, bound)[1] if guidance.clamp else eps), bad


@torch.no_grad()
def sample_loop(
    model: NoisePredictor,
    x: Tensor,
    *,
    steps: int,
    eta: float = 0.0,
    guidance: Guidance | None = None,
    log_prob: LogProb | None = None,
    bound: float | None = 1.0,
    noise: Callable[[int], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run x_T (B, ...) down to x_0 (B, ...), unclamped; also the steps with a non-finite gradient per sample (B,).

    noise(i): standard normal (B, ...) of step i where eta > 0; None draws it from torch's global generator. Without
    guidance, log_prob or scale the guide is never called.
    """
    guidance = guidance or Guidance(scale=0.0)
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    zeroed = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for i, t in enumerate(scheduler.timesteps.tolist()):
        abar = float(scheduler.alphas_cumprod[t])
        guide = log_prob if guidance.active(i, steps) else None
        eps, bad = guided_noise(model, x, t, abar, guidance, guide, bound)
        drawn = noise(i) if noise and eta else None
        x = scheduler.step(eps, t, x, eta=eta, variance_noise=drawn).prev_sample
        zeroed += bad
    return x, zeroed
