"""One training iteration of StyleGAN2 and everything that must survive a kill."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.models.adversarial import Autocast, Draw
from ltbench_stylegan2.augment import Controller, Pipeline
from ltbench_stylegan2.discriminator import Discriminator
from ltbench_stylegan2.losses import (
    PathLength,
    discriminator_loss,
    ema_beta,
    finite_step,
    generator_loss,
    lazy_adam,
    path_lengths,
    r1_penalty,
    update_average,
)
from ltbench_stylegan2.synthesis import GeneratorNetwork

G_INTERVAL, D_INTERVAL, ADA_INTERVAL = 4, 16, 4  # iterations between regularisers, and between adjustments of p
NETWORKS = ("g", "d", "average")
PARTS = (*NETWORKS, "adam_g", "adam_d", "control")
COLLAPSED = 5.0  # generator loss, averaged over about 100 iterations, at which the discriminator has won for good


class StyleGAN2Training:
    """Both networks, the average of the generator, optimisers, controller and counters.

    o: options path_weight, gamma, lr, style_mixing, ema_kimg, ema_ramp, ada_target, ada_ceiling, with gamma and
    ada_kimg resolved. pipeline None: no augmentation. stopped: why training ended early, "" while it goes on. frozen:
    layers of the discriminator that stay as they are.
    """

    frozen: Sequence[nn.Module] = ()

    def __init__(self, g: GeneratorNetwork, d: Discriminator, o: Mapping[str, Any], pipeline: Pipeline | None) -> None:
        self.g, self.d, self.o, self.pipeline = g.train(), d.train(), o, pipeline
        self.average = copy.deepcopy(g).eval().requires_grad_(False)
        self.adam_g = lazy_adam(g.parameters(), o["lr"], G_INTERVAL if o["path_weight"] else None)
        self.adam_d = lazy_adam(d.parameters(), o["lr"], D_INTERVAL if o["gamma"] else None)
        self.path = PathLength(o["path_weight"])
        self.control = Controller(kimg=o["ada_kimg"], target=o["ada_target"], ceiling=o["ada_ceiling"])
        self.images, self.stopped = 0, ""
        self.g_loss = torch.zeros([], device=next(g.parameters()).device)

    def step(self, i: int, real: Tensor, labels: Tensor, draw: Draw, autocast: Autocast) -> None:
        """Iteration i (0-based) on real images (B, c, side, side) in [-1, 1] with labels (B,)."""
        batch = len(real)
        self._train_only(self.g)
        self._generator(draw(batch), autocast)
        if self.o["path_weight"] and i % G_INTERVAL == 0:
            self._path_length(draw(max(1, batch // 2)))
        self._train_only(self.d)
        self._discriminator(real, labels, draw(batch), autocast)
        if self.o["gamma"] and i % D_INTERVAL == 0:
            self._r1(real, labels)
        ramp = self.o["ema_ramp"] or None
        update_average(self.average, self.g, ema_beta(batch, self.o["ema_kimg"] * 1000, ramp, self.images))
        self.images += batch
        if (i + 1) % ADA_INTERVAL == 0:
            if self.pipeline:
                self.control.adjust(batch * ADA_INTERVAL)
            self._watch(i)

    def _train_only(self, network: nn.Module) -> None:
        self.g.requires_grad_(network is self.g)
        self.d.requires_grad_(network is self.d)
        for layer in self.frozen:
            layer.requires_grad_(False)

    def _seen(self, images: Tensor) -> Tensor:
        """What the discriminator sees of images; at p = 0 the pipeline is the identity."""
        return self.pipeline(images, self.control.p) if self.pipeline and self.control.p > 0 else images

    def _styles(self, labels: Tensor) -> Tensor:
        z = torch.randn(len(labels), self.g.latent, device=labels.device)
        return self.g.mixed_styles(z, labels, self.o["style_mixing"])

    def _generator(self, labels: Tensor, autocast: Autocast) -> None:
        fake = self.g.synthesis(self._styles(labels), autocast=autocast())
        loss = generator_loss(self.d(self._seen(fake), labels, autocast()))
        finite_step(self.adam_g, loss, self.g.parameters())
        self.g_loss.lerp_(loss.detach(), 0.01)

    def _path_length(self, labels: Tensor) -> None:
        ws = self._styles(labels)
        images = self.g.synthesis(ws)
        direction = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
        penalty = self.path.penalty(path_lengths(images, ws, direction))
        finite_step(self.adam_g, G_INTERVAL * penalty, self.g.parameters())

    def _discriminator(self, real: Tensor, labels: Tensor, fake_labels: Tensor, autocast: Autocast) -> None:
        with torch.no_grad():
            fake = self.g.synthesis(self._styles(fake_labels), autocast=autocast())
        loss = discriminator_loss(self.d(self._seen(fake), fake_labels, autocast()), real=False)
        logits = self.d(self._seen(real), labels, autocast())
        if self.pipeline:
            self.control.observe(logits)
        finite_step(self.adam_d, loss + discriminator_loss(logits, real=True), self.d.parameters())

    def _r1(self, real: Tensor, labels: Tensor) -> None:
        real = real.detach().requires_grad_(True)  # the gradient is taken before the augmentation
        penalty = r1_penalty(self.d(self._seen(real), labels), real).mean()
        finite_step(self.adam_d, D_INTERVAL * self.o["gamma"] / 2 * penalty, self.d.parameters())

    def _watch(self, i: int) -> None:
        """Stop where the losses are not finite or the discriminator has won."""
        value = float(self.g_loss)  # holds every loss since the start, nan included
        if not value < float("inf"):
            self.stopped = f"the generator's loss is {value} at iteration {i}"
        elif value > COLLAPSED:
            self.stopped = f"the generator's mean loss is {value:.1f} at iteration {i}: the discriminator has won"

    def prepare(self) -> None:
        """Nothing to do: the average is complete after every step."""

    def notes(self) -> dict[str, float]:
        """ada_p: the last probability of the augmentation."""
        return {"ada_p": float(self.control.p)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, average, optimisers, path length, p, counters."""
        return {
            **{name: getattr(self, name).state_dict() for name in PARTS},
            "path": self.path.mean,
            "g_loss": self.g_loss,
            "images": self.images,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.path.mean, self.g_loss = state["path"], state["g_loss"]
        self.images, self.stopped = state["images"], state["stopped"]
