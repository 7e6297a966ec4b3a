"""The generator `edm`: class-conditional diffusion with the loss, preconditioning and sampler of EDM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ltbench.errors import UserError
from ltbench.models.images import to_signed
from ltbench.options import number
from ltbench_diffusion import label_options
from ltbench_diffusion.conditional import LabelDiffusion
from ltbench_diffusion.samplers import heun
from ltbench_diffusion.schedules import edm_sigmas, edm_weight, preconditioning

OWN_FIT = frozenset({"p_mean", "p_std", "sigma_data"})
NOISE_SCALE = 1000.0  # c_noise times this enters the sinusoidal embedding, whose wavelengths fit 0 .. 1000


class EDM(LabelDiffusion):
    """Class-conditional EDM (Karras et al. 2022) with classifier-free guidance (Ho and Salimans 2022).

    Of the fit: p_mean and p_std of ln(sigma) in training; sigma_data, the data's standard deviation (None: measured);
    p_uncond, share of samples that lose their label; label_power p draws classes with P(k) ~ n_k^p; size in px (None:
    the image's side, at most max_size); widths, blocks, attention (largest map in px with self-attention) and dropout
    of the U-Net; train_steps, train_batch, lr, warmup in steps, ema; flip (None: as the protocol augments); unet_path,
    a trained network. Of sampling with Heun's method: steps (2 steps - 1 evaluations); sigma_min, sigma_max, rho; cfg,
    the guidance weight (1: none), applied for sigma in cfg_interval (None: everywhere; Kynkaanniemi et al. 2024);
    sample_batch (fewer on a CPU). Raises UserError for values out of range, DataError for a class without an image,
    NonFinite where it diverges.
    """

    version = 1
    TIERS = label_options.tiers(tiny={"steps": 12}, base={"steps": 18}, paper={"steps": 18})
    fit_options: ClassVar[frozenset[str] | None] = label_options.FIT | OWN_FIT

    def __init__(
        self,
        *,
        p_mean: float = -1.2,
        p_std: float = 1.2,
        sigma_data: float | None = None,
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
        steps: int = 12,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        cfg: float = 1.0,
        cfg_interval: Sequence[float] | None = None,
        sample_batch: int = 256,
    ) -> None:
        values = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check(values)
        self.options = {**values, "widths": [int(w) for w in widths]}
        self.cfg, self.interval = float(cfg), tuple(cfg_interval or (0.0, math.inf))
        self.sigma_data = sigma_data

    def facts(self) -> dict[str, Any]:
        return {"prediction": "edm"}

    def measure(self, x: Tensor) -> None:
        if self.options["sigma_data"] is None:
            values = to_signed(x) if x.dtype == torch.uint8 else x.float()
            self.sigma_data = max(float(values.std()), 1e-3)

    def adopt(self, manifest: dict[str, Any]) -> None:
        self.sigma_data = manifest.get("sigma_data", self.sigma_data)

    def objective(self, net: Any, x0: Tensor, labels: Tensor) -> Tensor:
        o = self.options
        sigma = (torch.randn(len(x0), 1, 1, 1, device=x0.device) * o["p_std"] + o["p_mean"]).exp()
        x0_hat = self._denoised(
            lambda x, at: net(x, at, class_labels=labels).sample, x0 + sigma * torch.randn_like(x0), sigma
        )
        return (edm_weight(sigma, self._sd) * (x0_hat - x0).square()).mean()

    @property
    def _sd(self) -> float:
        assert self.sigma_data is not None
        return self.sigma_data

    def _denoised(self, net: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigma: Tensor) -> Tensor:
        """c_skip x + c_out F(c_in x, c_noise), for sigma (B, 1, 1, 1); equation 7."""
        skip, out, into, at = preconditioning(sigma, self._sd)
        return skip * x + out * net(into * x, NOISE_SCALE * at.flatten()).float()

    def reverse(self, noise: Callable[[int], Tensor], labels: Tensor) -> Tensor:
        o = self.options
        sigmas = edm_sigmas(o["steps"], o["sigma_min"], o["sigma_max"], o["rho"]).tolist()

        def denoise(x: Tensor, sigma: float) -> Tensor:
            cfg = self.cfg if self.interval[0] <= sigma <= self.interval[1] else 1.0
            at = torch.full((len(x), 1, 1, 1), sigma, device=x.device)
            return self._denoised(lambda y, c: self.predict(y, c, labels, cfg), x, at)

        return heun(denoise, noise(0) * sigmas[0], sigmas)

    def manifest(self) -> dict[str, Any]:
        return {**super().manifest(), "sigma_data": self.sigma_data}


def check(values: dict[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    label_options.check(values)
    number("generator.p_mean", values["p_mean"], -10, 10)
    for name in ("p_std", "sigma_min", "sigma_max", "rho"):
        number(f"generator.{name}", values[name], ends="()")
    if values["sigma_data"] is not None:
        number("generator.sigma_data", values["sigma_data"], ends="()", example=0.5)
    if values["sigma_min"] >= values["sigma_max"]:
        raise UserError(
            f"generator.sigma_min must be below sigma_max={values['sigma_max']:g}, got {values['sigma_min']:g}"
        )
    interval = values["cfg_interval"]
    pair = isinstance(interval, (list, tuple)) and [type(v) in (int, float) for v in interval] == [True, True]
    if interval is not None and not (pair and 0 <= interval[0] < interval[1]):
        raise UserError(
            f"generator.cfg_interval must be two noise levels, the lower one first, got {interval!r}; "
            "for example --set generator.cfg_interval=[0.3,5]"
        )
