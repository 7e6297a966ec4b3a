"""The cached phases of HistoDiffusion after the autoencoder: diffusion model, latent classifier, decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ltbench_diffusion.autoencoder import Autoencoder, AutoencoderOptions, AutoencoderTraining
from ltbench_diffusion.parallel import share
from ltbench_diffusion.schedules import alphas_cumprod, target
from ltbench_diffusion.training import DiffusionTraining
from ltbench_diffusion.unet import build_unet
from torch import Tensor
from torch.nn import functional as F

from ltbench.interfaces import Context, ImagePool, ImageTable
from ltbench.models.drawing import TrainingRows
from ltbench.models.images import resized, to_signed
from ltbench_histodiffusion import options
from ltbench_histodiffusion.decoder import DecoderTuning
from ltbench_histodiffusion.guide import GuideTraining, LatentClassifier
from ltbench_histodiffusion.latents import Latents
from ltbench_histodiffusion.sampling import T

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss}
LOOKS = 20  # at the latent classifier's validation loss


@dataclass(frozen=True)
class Setting:
    """What the phases share: the component's options, the autoencoder and its options, px, and widths that fit."""

    values: Mapping[str, Any]
    ae: AutoencoderOptions
    coder: Autoencoder
    size: int
    widths: tuple[int, ...]
    guide_widths: tuple[int, ...]
    prediction: str
    pool: ImagePool

    def key(self, *names: str) -> dict[str, Any]:
        """On what a phase depends: the autoencoder, its images and these options."""
        base = {"autoencoder": self.ae.key(), "size": self.size, "pool": self.pool.content}
        return {**base, **{name: self.values[name] for name in names}}

    def network(self, kind: Any, start: str, context: Context, **given: Any) -> Any:
        """A network for these latents, initialised from the stream `start`, on the device."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng(start).integers(2**63)))
            net = kind(
                size=self.coder.shape[1],
                channels=self.coder.shape[0],
                blocks=self.values["blocks"],
                attention=self.values["attention"],
                **given,
            )
        return net.to(context.device)


def fit_unet(setting: Setting, context: Context) -> tuple[Any, int]:
    """The unconditional noise predictor of the pool's latents, and the step at which its fit diverged, -1 for none.

    Ye et al. 2023, equation 3.
    """
    o, pool = setting.values, setting.pool
    loss, abars = LOSSES[o["loss"]], alphas_cumprod(o["schedule"]).float().to(context.device)

    def objective(net: Any, z: Tensor, labels: Tensor) -> Tensor:
        t, noise = torch.randint(0, T, (len(z),)).to(z.device), torch.randn(z.shape).to(z.device)
        z, t, noise = share(z, t, noise)
        abar = abars[t].view(-1, 1, 1, 1)
        made = net(abar.sqrt() * z + (1 - abar).sqrt() * noise, t).sample
        return loss(made.float(), target(z, noise, abar, setting.prediction))

    unet = setting.network(build_unet, "unet-start", context, widths=setting.widths, num_classes=None)
    total = o["train_steps"]
    training = DiffusionTraining(unet, objective, lr=o["lr"], ema=o["ema"], total=total, warmup=max(1, total // 20))
    latents: Latents | None = None
    for step in context.steps("unet", total, training, options=setting.key(*options.UNET), data=pool.content):
        if training.stopped >= 0:
            continue
        latents = latents or Latents(pool, setting.coder, setting.size, context)
        z = latents.batch(o["train_batch"])
        training.step(z, torch.zeros(len(z), dtype=torch.int64), step, context.autocast())
    return training.finish(), training.stopped


def fit_guide(setting: Setting, table: ImageTable, rows: TrainingRows, context: Context) -> LatentClassifier:
    """The noise-aware classifier of the labelled images' latents; Ye et al. 2023, equation 6."""
    o, total = setting.values, setting.values["guide_steps"]
    net = setting.network(
        LatentClassifier,
        "guide-start",
        context,
        widths=setting.guide_widths,
        num_classes=context.task.num_classes,
    )
    abar = alphas_cumprod(o["schedule"]).float().to(context.device)
    training = GuideTraining(net, abar, lr=o["guide_lr"], weight_decay=o["guide_weight_decay"], total=total)
    labels, every = torch.from_numpy(np.array(table.labels)), max(1, total // LOOKS)
    sets: dict[str, Latents] = {}
    for step in context.steps("latent-classifier", total, training, options=setting.key(*options.GUIDE)):
        if training.stopped >= 0:
            continue
        for name, part in (("train", table), ("val", context.held_out)) if not sets else ():
            sets[name] = Latents(ImagePool((part.images,), "", (name,)), setting.coder, setting.size, context)
        drawn = rows.rows(o["guide_batch"])
        z = sets["train"].take(drawn)
        training.step(z, labels[drawn].to(context.device), step, context.autocast())
        if step % every == every - 1 or step == total - 1:
            held_out = torch.from_numpy(np.array(context.held_out.labels)).to(context.device)
            random = context.torch_rng("validate-guide")
            training.validate(sets["val"].take(torch.arange(len(held_out)), random), held_out, step, random)
    return training.finish()


def tune_decoder(setting: Setting, table: ImageTable, rows: TrainingRows, context: Context) -> None:
    """Adapt the decoder to the labelled images, in place; Ye et al. 2023, equation 5."""
    o, total, coder = setting.values, setting.values["decoder_steps"], setting.coder
    judge = context.reference("guide")
    terms_of = AutoencoderTraining(coder.net, setting.ae, table.images.shape[3], context.device)
    tuning = DecoderTuning(
        coder, terms_of.reconstruction, judge.log_prob, lr=o["decoder_lr"], ce_weight=o["ce_weight"], total=total
    )
    images, labels = resized(table.images, (setting.size,) * 2), torch.from_numpy(np.array(table.labels))
    key = {**setting.key(*options.DECODER, "label_power"), "judge": judge.weights}
    for step in context.steps("decoder", total, tuning, options=key):
        if tuning.good.stopped >= 0:
            continue
        drawn = rows.rows(o["decoder_batch"])
        x = to_signed(images[drawn].to(context.device))
        terms = tuning.step(x, labels[drawn].to(context.device), context.autocast())
        tuning.good.look(terms["reconstruction"] + terms["cross_entropy"], step)
    tuning.good.say()
    tuning.finish()
