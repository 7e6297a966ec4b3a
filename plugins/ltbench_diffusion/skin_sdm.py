"""The generator `skin-sdm`: Stable Diffusion fine-tuned on the training images, told the class by a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ltbench.errors import UserError
from ltbench.interfaces import Context, ImageTable
from ltbench.options import choice, number, whole
from ltbench_diffusion.ddpm import DDPM, check_eta
from ltbench_diffusion.examples import Examples
from ltbench_diffusion.label_options import check_cfg
from ltbench_diffusion.latents import latent_examples
from ltbench_diffusion.lora import adapt
from ltbench_diffusion.samplers import SAMPLERS, SPACINGS
from ltbench_diffusion.stable_diffusion import Prompted, load_stable_diffusion


class SkinSDM(DDPM):
    """Stable Diffusion fine-tuned on the training part (after Patcharapimpisut and Khanarsa 2024).

    Of the fit: weights, a local folder of diffusers' StableDiffusionPipeline; prompt with "{class}" where the class
    name goes; train "full" (the U-Net), "lora" (rank `rank` at its attention) or "none"; size in px at which the U-Net
    works (None: what its folder says); p_uncond, share of samples told "" instead; label_power p draws classes with
    P(k) ~ n_k^p; train_steps, train_batch, lr, warmup, ema, flip as in `ddpm`. The VAE and the text encoder stay as
    they are. Of sampling: sampler, spacing, steps, eta and cfg as in `ddpm`; images come out at the training images'
    size. Raises DataError where the weights are missing, UserError for values out of range.
    """

    version = 1
    pretrained = True
    bound = None
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"train": "lora", "lr": 1e-4, "size": 64, "train_steps": 50, "train_batch": 4, "steps": 10},
        "base": {"train": "lora", "lr": 1e-4, "size": 256, "train_steps": 1000, "train_batch": 16},
        "paper": {"train": "full", "lr": 1e-5, "train_steps": 10_000, "train_batch": 16},
    }
    fit_options: ClassVar[frozenset[str] | None] = frozenset(
        {"prompt", "train", "rank", "size", "p_uncond", "label_power"}
        | {"train_steps", "train_batch", "lr", "warmup", "ema", "flip"}
    )

    def __init__(
        self,
        *,
        weights: str | None = None,
        prompt: str = "a dermatoscopic image of {class}",
        train: str = "full",
        rank: int = 16,
        size: int | None = None,
        p_uncond: float = 0.1,
        label_power: float = 0.5,
        train_steps: int = 10_000,
        train_batch: int = 16,
        lr: float = 1e-5,
        warmup: int = 100,
        ema: float = 0.999,
        flip: bool | None = None,
        sampler: str = "dpm++",
        spacing: str = "logsnr",
        steps: int = 25,
        eta: float = 0.0,
        cfg: float = 2.0,
        sample_batch: int = 16,
    ) -> None:
        values = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if not isinstance(prompt, str) or "{class}" not in prompt:
            raise UserError(f"generator.prompt must hold {{class}} where the class name goes, got {prompt!r}")
        choice("generator.train", train, ("full", "lora", "none"))
        choice("generator.sampler", sampler, SAMPLERS)
        choice("generator.spacing", spacing, SPACINGS)
        choice("generator.flip", flip, (None, True, False))
        for name in ("rank", "train_steps", "train_batch", "sample_batch"):
            whole(f"generator.{name}", values[name], 1)
        whole("generator.warmup", warmup)
        whole("generator.steps", steps, 2, 1000, example=25)
        if size is not None:
            whole("generator.size", size, 8, example=512)
        number("generator.lr", lr, ends="()", example=1e-5)
        number("generator.label_power", label_power, high=1, ends="[]", example=0.5)
        number("generator.ema", ema, high=1)
        check_eta(eta, sampler)
        number("generator.p_uncond", p_uncond, high=1)
        check_cfg(cfg, p_uncond)
        self.options, self.cfg = {**values, "clip": False, "min_snr": None}, float(cfg)

    def facts(self) -> dict[str, Any]:
        return {"prediction": self.prediction, "schedule": "of the weights"}

    def data_key(self) -> dict[str, Any]:
        return {**super().data_key(), "weights": self.pipe.content, "prompts": self.prompts}

    def examples(self, table: ImageTable, context: Context) -> Examples:
        o = self.options
        self.prompts = [*(o["prompt"].replace("{class}", name) for name in context.task.class_names), ""]
        self.pipe = load_stable_diffusion(o["weights"], self.prompts, context.device)
        self.abar, self.prediction = self.pipe.abar, self.pipe.prediction
        unet, factor = self.pipe.unet.config, self.pipe.factor
        size = o["size"] or unet.sample_size * factor
        step = factor * 2 ** (len(unet.block_out_channels) - 1)
        if size % step:
            below = max(size // step, 1) * step
            raise UserError(
                f"generator.size must be a multiple of {step} px for these weights, got {size}; "
                f"--set generator.size={below} or {below + step}"
            )
        self.shape = (unet.in_channels, size // factor, size // factor)
        self.image_side, self.channels = max(table.images.shape[1:3]), table.images.shape[3]
        return latent_examples(
            self.pipe.moments,
            table.images,
            table.labels,
            context,
            size=size,
            power=o["label_power"],
            flip=self.flip,
            batch=o["sample_batch"],
        )

    def network(self) -> Any:
        if self.options["train"] == "lora":
            adapt(self.pipe.unet, self.options["rank"])
        return Prompted(self.pipe.unet, self.pipe.prompts)

    def train(self, examples: Examples, context: Context) -> Any:
        if self.options["train"] == "none":
            return self.network().to(self.device).eval().requires_grad_(False)
        return super().train(examples, context)

    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.image_side, self.image_side

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        with self.autocast():
            made = self.pipe.decode(x).float().clamp(-1, 1)
        made = made.mean(1, keepdim=True) if self.channels == 1 else made
        side = self.image_side
        return interpolate(made, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
