"""The generator `histodiffusion`: latent diffusion without labels, led to a class by a noise-aware classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from ltbench_diffusion.autoencoder import fit_autoencoder
from ltbench_diffusion.options import prediction
from ltbench_diffusion.samplers import ddim
from ltbench_diffusion.schedules import alphas_cumprod
from ltbench_diffusion.unet import fit_shape
from torch import Tensor

from ltbench.data.tables import digest
from ltbench.errors import NonFinite
from ltbench.interfaces import Context, Generator, Guide, ImagePool, ImageTable
from ltbench.models.drawing import Streams, TrainingRows, asked_counts, at_once, draw_images, wanted_labels
from ltbench_histodiffusion import options
from ltbench_histodiffusion.phases import Setting, fit_guide, fit_unet, tune_decoder
from ltbench_histodiffusion.sampling import guided, kept_steps


class HistoDiffusion(Generator):
    """Latent diffusion pre-trained on unlabelled images, its decoder tuned on the labelled ones; Ye et al. 2023.

    pool: sources of the unlabelled images (see `Context.pool`); pretrain false: the labelled images instead.
    decoder_tuning: adapt the decoder with the help of an image classifier. max_size: px of the longer side at most.
    autoencoder: "kl", "identity" or "auto" (identity up to 32 px); ae_widths, latent_channels, ae_steps, ae_batch,
    ae_lr, kl_weight, perceptual_path, perceptual_weight, adversarial_weight and adversarial_start as in
    `AutoencoderOptions`. widths, blocks and attention of the U-Net; prediction, loss, schedule, train_steps,
    train_batch, lr, ema of its training. guide_*: the latent classifier; its classes are drawn with P ~ n^label_power.
    decoder_steps, decoder_batch, decoder_lr, ce_weight: the tuning. Sampling: sampler, form ("score" or "mean_shift"),
    scale, eta, steps, sample_batch (fewer on a CPU). Raises UserError for values out of range.
    """

    version = 2  # 1: pixels kept the noise of the first level, five grey levels of it
    TIERS = options.TIERS
    fit_options: ClassVar[frozenset[str] | None] = options.FIT
    conditional = True
    TEST_OPTIONS: ClassVar[dict[str, Any]] = {
        "autoencoder": "kl",
        "ae_widths": [8, 8],
        "ae_steps": 2,
        "ae_batch": 4,
        "guide_widths": [8, 8],
        "guide_steps": 2,
        "guide_batch": 4,
        "decoder_steps": 2,
        "decoder_batch": 4,
    }

    def __init__(
        self,
        *,
        pool: Sequence[str] = ("in-domain",),
        pretrain: bool = True,
        decoder_tuning: bool = True,
        max_size: int = 64,
        autoencoder: str = "auto",
        ae_widths: Sequence[int] = (32, 64, 64),
        latent_channels: int = 3,
        ae_steps: int = 3000,
        ae_batch: int = 32,
        ae_lr: float = 1e-3,
        kl_weight: float = 1e-6,
        perceptual_path: str | None = None,
        perceptual_weight: float = 1.0,
        adversarial_weight: float = 0.0,
        adversarial_start: int = 0,
        widths: Sequence[int] = (32, 64),
        blocks: int = 1,
        attention: int = 4,
        prediction: str = "auto",
        loss: str = "mse",
        schedule: str = "scaled-linear-ldm",
        train_steps: int = 3000,
        train_batch: int = 64,
        lr: float = 2e-3,
        ema: float = 0.99,
        guide_widths: Sequence[int] = (32, 64),
        guide_steps: int = 1000,
        guide_batch: int = 64,
        guide_lr: float = 1e-3,
        guide_weight_decay: float = 0.05,
        label_power: float = 0.0,
        decoder_steps: int = 500,
        decoder_batch: int = 16,
        decoder_lr: float = 1e-4,
        ce_weight: float = 1.0,
        sampler: str = "ddim",
        form: str = "score",
        scale: float = 3.0,
        eta: float = 1.0,
        steps: int = 20,
        sample_batch: int = 256,
    ) -> None:
        values = {name: value for name, value in locals().items() if name != "self"}
        options.check(values)
        self.options = values
        self._notes: dict[str, float] = {}

    def fit(self, table: ImageTable, context: Context) -> None:
        o = self.options
        self.num_classes, self.device, self.autocast = context.task.num_classes, context.device, context.autocast
        self.abar, self.channels = alphas_cumprod(o["schedule"]), table.images.shape[3]
        own = ImagePool((table.images,), digest(table.images, table.ids), ("train",))
        pool = context.pool(o["pool"]) if o["pretrain"] else own
        self.setting = self._setting(pool, context, max(table.images.shape[1:3]))
        self.coder, self.size = self.setting.coder, self.setting.size
        self.unet, self.stopped = fit_unet(self.setting, context)
        rows = TrainingRows(table.labels, context.task.class_names, o["label_power"])
        self.guide = fit_guide(self.setting, table, rows, context)
        if o["decoder_tuning"] and self.coder.net is not None:
            tune_decoder(self.setting, table, rows, context)

    def _setting(self, pool: ImagePool, context: Context, side: int) -> Setting:
        o, size = self.options, min(side, self.options["max_size"])
        ae = options.autoencoder_options(o, size)
        latent = -(-size // ae.factor)
        latent, widths = fit_shape(latent, latent, o["widths"])
        size = latent * ae.factor
        return Setting(
            values=o,
            ae=ae,
            coder=fit_autoencoder(pool, context, ae, size=size),
            size=size,
            widths=widths,
            guide_widths=fit_shape(latent, latent, o["guide_widths"])[1],
            prediction=prediction(o["prediction"], latent),
            pool=pool,
        )

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images led by the generator's own latent classifier; `guide` is not used."""
        counts = asked_counts(counts, self.num_classes)
        labels = wanted_labels(counts)
        streams = Streams(int(rng.integers(2**63)), labels)
        self.zeroed = 0

        def run(rows: np.ndarray, attempt: int) -> Tensor:
            return self._reverse(rows, torch.as_tensor(labels[rows]).to(self.device), streams, attempt)

        shape = (self.channels, self.size, self.size)
        hint = f"at generator.scale={self.options['scale']:g}; lower it, or fit longer (generator.train_steps)"
        batch = at_once(self.options["sample_batch"], self.coder.shape, self.device)
        images, dropped = draw_images(len(labels), shape, run, batch=batch, hint=hint)
        total = len(labels) * self.options["steps"]
        if self.zeroed > 0.01 * total:
            raise NonFinite(
                f"the latent classifier's gradient was not finite in {self.zeroed} of {total} (image, step) pairs; "
                f"lower generator.scale={self.options['scale']:g}"
            )
        self._notes = {"dropped": float(dropped), "zeroed": float(self.zeroed)}
        if self.stopped >= 0:
            self._notes["stopped_at"] = float(self.stopped)
        return images, labels

    @torch.no_grad()
    def _reverse(self, rows: np.ndarray, labels: Tensor, streams: Streams, attempt: int) -> Tensor:
        o = self.options
        times = kept_steps(o["steps"])
        missed = []
        last = 1.0 if self.coder.net is None else float(self.abar[0])  # the release's last latents keep some noise
        levels = [*(float(self.abar[t]) for t in times), last]

        def predict(z: Tensor, t: int) -> Tensor:
            with self.autocast():
                return self.unet(z, t).sample.float()

        def gradient(z: Tensor, t: int) -> Tensor:
            found = self.guide.gradient(z, t, labels)
            bad = ~torch.isfinite(found).flatten(1).all(1)
            missed.append(int(bad.sum()))
            return torch.where(bad.view(-1, 1, 1, 1), torch.zeros_like(found), found)

        model = guided(
            predict,
            gradient,
            times,
            levels,
            scale=o["scale"],
            form=o["form"],
            prediction=self.setting.prediction,
            bound=1.0 if self.coder.net is None else None,
        )
        draw = lambda i: streams.normal(rows, self.coder.shape, attempt, i).to(self.device)  # noqa: E731
        eta = 1.0 if o["sampler"] == "ddpm" else o["eta"]
        x = self.coder.decode(ddim(model, draw(0), times, levels, eta=eta, noise=lambda i: draw(i + 1)))
        self.zeroed += sum(missed)  # here, since a batch too large for the device is drawn again
        return x

    def notes(self) -> dict[str, float]:
        """dropped: images drawn again; zeroed: (image, step) pairs without a finite gradient; stopped_at: the step at
        which the diffusion model diverged.
        """
        return self._notes
