"""The generators `ldm` and `skin-sdm-scratch`: class-conditional diffusion in the latents of an own autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ltbench.data.tables import digest
from ltbench.errors import UserError
from ltbench.interfaces import Context, ImagePool, ImageTable
from ltbench.options import wholes
from ltbench_diffusion import label_options
from ltbench_diffusion.autoencoder import Autoencoder, AutoencoderOptions, fit_autoencoder
from ltbench_diffusion.ddpm import DDPM, OWN_FIT
from ltbench_diffusion.examples import Examples
from ltbench_diffusion.latents import latent_examples
from ltbench_diffusion.unet import fit_shape

AUTOENCODER = frozenset(
    {f"ae_{part}" for part in ("widths", "steps", "batch", "lr")} | {"latent_channels", "kl_weight"}
)
SAME: Mapping[str, Mapping[str, Any]] = label_options.tiers(
    tiny={"ae_widths": [16, 32], "ae_steps": 600, "steps": 20},
    base={
        "max_size": 128,
        "widths": [96, 192, 192],
        "attention": 8,
        "ae_widths": [64, 128, 128],
        "latent_channels": 4,
        "ae_steps": 3000,
        "ae_batch": 32,
        "ae_lr": 3e-4,
        "steps": 25,
    },
    paper={
        "max_size": 256,
        "widths": [192, 384, 384, 768, 768],
        "attention": 64,
        "lr": 5e-5,
        "ae_widths": [128, 256, 512],
        "latent_channels": 3,
        "ae_steps": 100_000,
        "ae_batch": 12,
        "ae_lr": 4.5e-6,
        "steps": 200,
        "sampler": "ddim",
    },
)


class LDM(DDPM):
    """Latent diffusion (Rombach et al. 2022): `ddpm` in the latents of an autoencoder fitted to the training images.

    Of the autoencoder: ae_widths of its levels (their number minus one halvings), latent_channels, ae_steps, ae_batch,
    ae_lr, kl_weight. All other options as in `ddpm`; size and max_size are those of the images, widths and attention
    of the U-Net on the latents. Latents are scaled to unit variance, x0 is not clamped. Raises the errors of `ddpm`,
    UserError for sizes that autoencoder and U-Net cannot take, NonFinite where the autoencoder diverges or collapses.
    """

    version = 1
    bound: ClassVar[float | None] = None
    TIERS = SAME
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {"ae_widths": [8, 8], "ae_steps": 3, "ae_batch": 4}
    fit_options: ClassVar[frozenset[str] | None] = label_options.FIT | OWN_FIT | AUTOENCODER

    def __init__(
        self,
        *,
        ae_widths: Sequence[int] = (16, 32),
        latent_channels: int = 4,
        ae_steps: int = 600,
        ae_batch: int = 32,
        ae_lr: float = 1e-3,
        kl_weight: float = 1e-6,
        schedule: str = "scaled-linear-ldm",
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
        sampler: str = "dpm++",
        spacing: str = "logsnr",
        steps: int = 20,
        eta: float = 0.0,
        cfg: float = 1.0,
        sample_batch: int = 256,
    ) -> None:
        values = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.autoencoder_options = AutoencoderOptions(
            widths=() if ae_widths in ([], ()) else tuple(wholes("generator.ae_widths", ae_widths, example="[16,32]")),
            latent_channels=latent_channels,
            steps=ae_steps,
            batch=ae_batch,
            lr=ae_lr,
            kl_weight=kl_weight,
        )
        own = {name: value for name, value in values.items() if name not in AUTOENCODER}
        super().__init__(**own, unet_path=None, clip=False)
        self.options |= {name: values[name] for name in AUTOENCODER}

    def examples(self, table: ImageTable, context: Context) -> Examples:
        o, factor = self.options, self.autoencoder_options.factor
        side = o["size"] or min(max(table.images.shape[1:3]), o["max_size"])
        latent, widths = fit_shape(-(-side // factor), side, o["widths"])
        self.side = latent * factor
        if o["size"] and self.side != side:
            step = factor * 2 ** (len(widths) - 1)
            raise UserError(
                f"generator.size must be a multiple of {step} for {len(o['ae_widths'])} widths of the autoencoder and "
                f"{len(widths)} of the U-Net, got {side}; --set generator.size={self.side - step} or {self.side}"
            )
        source = ImagePool((table.images,), digest(table.images), ("train",))
        self.autoencoder: Autoencoder = fit_autoencoder(source, context, self.autoencoder_options, size=self.side)
        self.shape, self.channels = self.autoencoder.shape, table.images.shape[3]
        return latent_examples(
            self.autoencoder.moments,
            table.images,
            table.labels,
            context,
            size=self.side,
            power=o["label_power"],
            flip=self.flip,
            targets=self.targets(table, context),
        )

    def targets(self, table: ImageTable, context: Context) -> Tensor | None:
        """Pictures uint8 (n, c, side, side) that the network learns beside the images; none here."""
        return None

    def data_key(self) -> dict[str, Any]:
        own = {name: self.options[name] for name in sorted(AUTOENCODER)}
        return {**super().data_key(), "side": self.side, "autoencoder": own}

    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.side, self.side

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        with self.autocast():
            return self.autoencoder.decode(x).float()


class SkinSDMScratch(LDM):
    """What is left of `skin-sdm` without pre-trained weights: `ldm` from scratch, a label embedding for the prompt.

    The noise schedule, the prediction and the guidance weight are those of `skin-sdm`, the options those of `ldm`.
    No text prior is involved, so its results are not those of Skin-SDM.
    """

    version = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        tier: {**options, "schedule": "scaled-linear", "prediction": "epsilon", "cfg": 2.0}
        for tier, options in SAME.items()
    }
