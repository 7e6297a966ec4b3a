"""The generator `ddpm`: a class-conditional diffusion model of pixels with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ltbench.errors import UserError
from ltbench.options import choice, number
from ltbench_diffusion import label_options
from ltbench_diffusion.conditional import LabelDiffusion
from ltbench_diffusion.samplers import SAMPLERS, SPACINGS, ddim, dpm_solver, levels, timesteps
from ltbench_diffusion.schedules import (
    PREDICTIONS,
    SCHEDULES,
    STEPS,
    alphas_cumprod,
    clipped,
    min_snr_weight,
    split,
    target,
)

OWN_FIT = frozenset({"schedule", "zero_snr", "prediction", "min_snr"})


class DDPM(LabelDiffusion):
    """Class-conditional DDPM (Ho et al. 2020) with label dropout and classifier-free guidance (Ho and Salimans 2022).

    Of the fit: schedule "linear", "cosine", "scaled-linear" or "scaled-linear-ldm"; zero_snr rescales it to end at
    abar = 0; prediction "epsilon" or "v_prediction"; min_snr, the gamma of min-SNR weighting, or None; p_uncond, share
    of samples that lose their label; label_power p draws classes with P(k) ~ n_k^p; size in px (None: the image's side,
    at most max_size); widths, blocks, attention (largest map in px with self-attention) and dropout of the U-Net;
    train_steps, train_batch, lr, warmup in steps, ema; flip (None: as the protocol augments); unet_path, a trained
    network. Of sampling: sampler "ddim" (with eta), "dpm++" or "ddpm" (ancestral); spacing "linspace", "trailing",
    "logsnr" or "karras"; steps; cfg, the guidance weight (1: none); clip of x0 at [-1, 1]; sample_batch
    (fewer on a CPU). Raises UserError for values out of range, DataError for a class without an image, NonFinite where
    it diverges.
    """

    version = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = label_options.tiers(
        tiny={"steps": 20}, base={"steps": 25}, paper={"steps": 250, "sampler": "ddim"}
    )
    fit_options: ClassVar[frozenset[str] | None] = label_options.FIT | OWN_FIT
    bound: ClassVar[float | None] = 1.0  # of x0

    def __init__(
        self,
        *,
        schedule: str = "cosine",
        zero_snr: bool = False,
        prediction: str = "v_prediction",
        min_snr: float | None = None,
        p_uncond: float = 0.1,
        label_power: float = 0.5,
        size: int | None = None,
        max_size: int = 32,
        widths: Sequence[int] = (32, 32, 64),
        blocks: int = 1,
        attention: int = 4,
        dropout: float = 0.0,
        train_steps: int = 258,
        train_batch: int = 128,
        lr: float = 2e-3,
        warmup: int = 20,
        ema: float = 0.999,
        flip: bool | None = None,
        unet_path: str | None = None,
        sampler: str = "dpm++",
        spacing: str = "logsnr",
        steps: int = 20,
        eta: float = 0.0,
        cfg: float = 1.0,
        clip: bool = True,
        sample_batch: int = 256,
    ) -> None:
        values = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check(values)
        self.options = {**values, "widths": [int(w) for w in widths]}
        self.prediction, self.cfg = prediction, float(cfg)
        self.abar = alphas_cumprod(schedule, zero_snr=zero_snr)

    def facts(self) -> dict[str, Any]:
        return {name: self.options[name] for name in ("prediction", "schedule", "zero_snr")}

    def objective(self, net: Any, x0: Tensor, labels: Tensor) -> Tensor:
        return self.denoising(net, x0, labels)[0]

    def denoising(self, net: Any, x0: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss at random noise levels, a scalar, and abar (B,) of these levels."""
        t = torch.randint(0, STEPS, (len(x0),), device=x0.device)
        eps = torch.randn_like(x0)
        abar = self.abar.to(x0.device)[t].view(-1, 1, 1, 1)
        noisy = (abar.sqrt() * x0 + (1 - abar).sqrt() * eps).float()
        output = net(noisy, t, class_labels=labels).sample.float()
        loss = (output - target(x0, eps, abar, self.prediction).float()).square()
        if self.options["min_snr"] is not None:
            loss = loss * min_snr_weight(abar, self.options["min_snr"], self.prediction).float()
        return loss.mean(), abar.flatten()

    def denoiser(self, labels: Tensor, *, cfg: float, clip: bool) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """x_t (B, c, h, w), t -> estimates (x0, eps) for these classes."""

        def model(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            abar = float(self.abar[t])
            at = torch.full((len(x),), t, device=x.device)
            x0, eps = split(self.predict(x, at, labels, cfg), x, abar, self.prediction)
            return clipped(x0, eps, x, abar, self.bound if clip else None)

        return model

    def reverse(self, noise: Callable[[int], Tensor], labels: Tensor) -> Tensor:
        o = self.options
        model = self.denoiser(labels, cfg=self.cfg, clip=o["clip"])
        ts = timesteps(self.abar, o["steps"], o["spacing"])
        at = levels(self.abar, ts)
        if o["sampler"] == "dpm++":
            return dpm_solver(model, noise(0), ts, at)
        eta = 1.0 if o["sampler"] == "ddpm" else o["eta"]
        return ddim(model, noise(0), ts, at, eta=eta, noise=lambda i: noise(i + 1))


def check(values: dict[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    label_options.check(values)
    choice("generator.schedule", values["schedule"], SCHEDULES)
    choice("generator.prediction", values["prediction"], PREDICTIONS)
    choice("generator.sampler", values["sampler"], SAMPLERS)
    choice("generator.spacing", values["spacing"], SPACINGS)
    for name in ("zero_snr", "clip"):
        choice(f"generator.{name}", values[name], (True, False))
    if values["min_snr"] is not None:
        number("generator.min_snr", values["min_snr"], ends="()", example=5)
    if values["zero_snr"] and values["prediction"] == "epsilon":
        raise UserError(
            "generator.zero_snr has a level without any signal, where the noise says nothing about the image; "
            "--set generator.prediction=v_prediction"
        )
    check_eta(values["eta"], values["sampler"])


def check_eta(eta: Any, sampler: str) -> None:
    """UserError for a share of noise out of range, or given to a sampler other than DDIM."""
    number("generator.eta", eta, high=1, ends="[]")
    if eta and sampler != "ddim":
        raise UserError(f"generator.eta={eta:g} is for generator.sampler=ddim, got {sampler!r}")
