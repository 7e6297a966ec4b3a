"""One training iteration of CellGAN and everything that must survive a kill."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.models.adversarial import Autocast, Draw
from ltbench_cellgan.layers import settle
from ltbench_cellgan.losses import augmented, hinge, r1_penalty, reconstruction
from ltbench_cellgan.networks import CODE, CellDiscriminator, CellGenerator

NETWORKS = ("g", "d", "average")
PARTS = (*NETWORKS, "adam_g", "adam_d")
WON = 3.0  # size of the mean logits at which the hinge has no gradient left, over about 1000 iterations
WATCH = 16  # iterations between looks at the losses


class CellTraining:
    """Both networks, the average of the generator, optimisers and counters; o: see `options`."""

    def __init__(self, g: CellGenerator, d: CellDiscriminator, o: Mapping[str, Any]) -> None:
        self.g, self.d, self.o = g.train(), d.train(), o
        self.average = copy.deepcopy(g).eval().requires_grad_(False)
        self.adam_g, self.adam_d = (
            torch.optim.Adam(net.parameters(), lr=o["lr"], betas=(0.0, 0.999), fused=True) for net in (g, d)
        )
        self.stopped = ""
        self.levels = torch.zeros(2, device=next(g.parameters()).device)  # running mean logits of reals and fakes

    def step(self, i: int, real: Tensor, labels: Tensor, draw: Draw, autocast: Autocast) -> None:
        """Iteration i (0-based) on real images (B, c, size, size) in [-1, 1] with labels (B,)."""
        self.g.requires_grad_(False)
        self.d.requires_grad_(True)
        self._discriminator(i, real, labels, autocast)
        self.g.requires_grad_(True)
        self.d.requires_grad_(False)
        self._generator(draw(len(real)), autocast)
        self._update_average(i)
        if (i + 1) % WATCH == 0:
            self._watch(i)

    def _discriminator(self, i: int, real: Tensor, labels: Tensor, autocast: Autocast) -> None:
        """Hinge losses, reconstruction of augmented reals and, when it is due, R1 of plain reals; labels serve both."""
        with autocast():
            with torch.no_grad():
                fake = self.g(self._latents(len(real), real), labels)
            seen = augmented(real)
            last, penultimate = self.d.features(seen)
            logits, fake_logits = self.d.logits(last, labels), self.d(augmented(fake.float()), labels)
            rebuilt = reconstruction(self.d, seen, last, penultimate, misaligned=self.o["misaligned_crops"])
            loss = hinge(logits.float(), real=True) + hinge(fake_logits.float(), real=False) + rebuilt
        if i % self.o["r1_every"] == 0 and self.o["r1"]:
            plain = real.detach().requires_grad_(True)
            loss = loss + self.o["r1"] * self.o["r1_every"] * r1_penalty(self.d(plain, labels), plain).mean()
        self._move(self.adam_d, loss)
        self.levels.lerp_(torch.stack([logits.detach().mean(), fake_logits.detach().mean()]).float(), 0.001)

    def _generator(self, labels: Tensor, autocast: Autocast) -> None:
        with autocast():
            fake = self.g(self._latents(len(labels), self.levels), labels)
            loss = -self.d(augmented(fake.float()), labels).float().mean()
        self._move(self.adam_g, loss)

    def _latents(self, n: int, like: Tensor) -> Tensor:
        return torch.randn(n, CODE, device=like.device)

    def _move(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def _update_average(self, i: int) -> None:
        """From iteration ema_start on, with the weights of that moment as start (stale_average: the initial ones)."""
        start = self.o["ema_start"]
        if i < start:
            if not self.o["stale_average"]:
                copy_weights(self.average, self.g, 1.0)
        else:
            copy_weights(self.average, self.g, 1 - self.o["ema"])

    def _watch(self, i: int) -> None:
        """Stop where the logits are not finite or the discriminator has won."""
        real, fake = self.levels.tolist()
        if not (abs(real) < float("inf") and abs(fake) < float("inf")):
            self.stopped = f"the discriminator's mean logits are {real}, {fake} at iteration {i}"
        elif real > WON and fake < -WON:
            self.stopped = f"the discriminator has won at iteration {i}: mean logits {real:.1f} and {fake:.1f}"

    def prepare(self) -> None:
        """Fit the singular vectors of the average to its weights."""
        settle(self.average)

    def notes(self) -> dict[str, float]:
        """Running mean logits of real and made images at the end."""
        real, fake = self.levels.tolist()
        return {"real_logit": real, "fake_logit": fake}

    def state_dict(self) -> dict[str, Any]:
        """Networks with their singular vectors, average, optimisers, levels."""
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        return {**parts, "levels": self.levels, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.levels, self.stopped = state["levels"], state["stopped"]


@torch.no_grad()
def copy_weights(average: nn.Module, network: nn.Module, share: float) -> None:
    """average <- (1 - share) average + share network for raw weights; singular vectors are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), share)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
