"""Options of `histodiffusion`: which phase depends on which, their values per tier, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench_diffusion.autoencoder import AutoencoderOptions

from ltbench.errors import UserError
from ltbench.options import choice, number, whole, wholes
from ltbench_histodiffusion.sampling import FORMS

IDENTITY = 32  # px: up to here "auto" uses no autoencoder

AUTOENCODER = ("ae_widths", "latent_channels", "ae_steps", "ae_batch", "ae_lr", "kl_weight", "perceptual_path")
ADVERSARIAL = ("perceptual_weight", "adversarial_weight", "adversarial_start")
UNET = ("widths", "blocks", "attention", "prediction", "loss", "schedule", "train_steps", "train_batch", "lr", "ema")
GUIDE = (
    "guide_widths",
    "guide_steps",
    "guide_batch",
    "guide_lr",
    "guide_weight_decay",
    "label_power",
    "blocks",
    "attention",
    "schedule",
)
DECODER = ("decoder_steps", "decoder_batch", "decoder_lr", "ce_weight")
FIT = frozenset(
    {
        "pool",
        "pretrain",
        "decoder_tuning",
        "max_size",
        "autoencoder",
        *AUTOENCODER,
        *ADVERSARIAL,
        *UNET,
        *GUIDE,
        *DECODER,
    }
)

TIERS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "max_size": 32,
        "widths": [16, 32, 32],
        "attention": 4,
        "train_steps": 1500,
        "lr": 3e-3,
        "guide_widths": [16, 32, 32],
        "guide_steps": 600,
    },
    "base": {
        "max_size": 64,
        "ae_widths": [64, 128, 256],
        "ae_steps": 6000,
        "ae_batch": 64,
        "ae_lr": 1e-4,
        "adversarial_weight": 0.0,
        "widths": [64, 128, 256],
        "blocks": 2,
        "attention": 16,
        "train_steps": 12000,
        "train_batch": 128,
        "lr": 2e-4,
        "ema": 0.999,
        "guide_widths": [64, 128, 256],
        "guide_steps": 3000,
        "guide_batch": 64,
        "guide_lr": 3e-4,
        "decoder_steps": 1500,
        "decoder_batch": 32,
        "decoder_lr": 5e-5,
        "steps": 50,
        "sample_batch": 512,
    },
    "paper": {
        "max_size": 256,
        "autoencoder": "kl",
        "ae_widths": [128, 256, 512],
        "ae_steps": 130_000,
        "ae_batch": 6,
        "ae_lr": 4.5e-6,
        "adversarial_weight": 0.5,
        "adversarial_start": 50_001,
        "widths": [192, 384, 384, 768, 768],
        "blocks": 2,
        "attention": 64,
        "prediction": "epsilon",
        "train_steps": 2_000_000,
        "train_batch": 4,
        "lr": 5e-5,
        "ema": 0.9999,
        "guide_widths": [128, 128, 256, 256, 512, 512],
        "guide_steps": 15_600,
        "guide_batch": 32,
        "guide_lr": 5e-5,
        "decoder_steps": 62_500,
        "decoder_batch": 4,
        "decoder_lr": 5e-5,
        "steps": 200,
        "scale": 1.0,
        "sample_batch": 64,
    },
}

CHOICES = {
    "autoencoder": ("auto", "identity", "kl"),
    "prediction": ("auto", "epsilon", "v_prediction"),
    "loss": ("mse", "l1"),
    "schedule": ("scaled-linear-ldm", "linear"),
    "sampler": ("ddim", "ddpm"),
    "form": FORMS,
}
WHOLE = ("blocks", "train_steps", "train_batch", "guide_steps", "guide_batch", "decoder_steps")
SHARES = ("eta", "label_power")
ABOVE_ZERO = ("lr", "guide_lr", "decoder_lr")


def autoencoder_options(values: Mapping[str, Any], size: int) -> AutoencoderOptions:
    """Options of the autoencoder for images of size px; without widths where latents are the pixels."""
    kind = values["autoencoder"]
    identity = kind == "identity" or (kind == "auto" and size <= IDENTITY)
    return AutoencoderOptions(
        widths=() if identity else tuple(values["ae_widths"]),
        latent_channels=values["latent_channels"],
        steps=values["ae_steps"],
        batch=values["ae_batch"],
        lr=values["ae_lr"],
        kl_weight=values["kl_weight"],
        perceptual_path=values["perceptual_path"],
        perceptual_weight=values["perceptual_weight"],
        adversarial_weight=values["adversarial_weight"],
        adversarial_start=values["adversarial_start"],
    )


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError naming the first option whose value cannot be used."""
    for name, known in CHOICES.items():
        choice(f"generator.{name}", values[name], known)
    for name in (*WHOLE, "decoder_batch", "sample_batch"):
        whole(f"generator.{name}", values[name], 1)
    whole("generator.max_size", values["max_size"], 4, example=32)
    whole("generator.steps", values["steps"], 2, 1000)
    for name in ("widths", "guide_widths", "ae_widths"):
        wholes(f"generator.{name}", values[name], example="[32,64]")
    for name in ABOVE_ZERO:
        number(f"generator.{name}", values[name], ends="()", example=1e-3)
    for name in SHARES:
        number(f"generator.{name}", values[name], high=1, ends="[]")
    number("generator.ema", values["ema"], high=1)
    for name in ("scale", "ce_weight", "guide_weight_decay"):
        number(f"generator.{name}", values[name])
    if values["sampler"] == "ddim" and values["form"] == "mean_shift":
        raise UserError(
            "generator.form=mean_shift moves the mean of a stochastic step, which DDIM does not have: "
            "--set generator.sampler=ddpm, or --set generator.form=score"
        )
    if values["sampler"] == "ddpm" and values["eta"] != 1:
        raise UserError(f"generator.eta={values['eta']:g} is for generator.sampler=ddim, got 'ddpm', whose eta is 1")
    autoencoder_options({**values, "autoencoder": "kl"}, IDENTITY)
    pool = values["pool"]
    if not isinstance(pool, (list, tuple)) or not pool or not all(isinstance(source, str) for source in pool):
        raise UserError(
            f"generator.pool must be a list of sources of images without labels, got {pool!r}; for example "
            """--set generator.pool='["in-domain"]'"""
        )
