"""The noise-aware classifier of latents, which leads the sampling to a class."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from ltbench_diffusion.unet import build_unet
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import NonFinite

log = logging.getLogger("ltbench")


class LatentClassifier(nn.Module):
    """Logits (B, C) of latents z_t (B, zc, h, w) at times t (B,): the down path of a U-Net, attention pooling, linear.

    Ye et al. 2023, equation 6; attention pooling as in Dhariwal and Nichol 2021, section 4.3.
    """

    def __init__(
        self, *, size: int, channels: int, widths: Sequence[int], blocks: int, attention: int, num_classes: int
    ) -> None:
        super().__init__()
        unet = build_unet(
            size=size, channels=channels, widths=widths, blocks=blocks, attention=attention, num_classes=None
        )
        self.time_proj, self.time_embedding, self.conv_in = unet.time_proj, unet.time_embedding, unet.conv_in
        self.down_blocks, self.mid_block = unet.down_blocks, unet.mid_block
        width = widths[-1]
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.pool = nn.MultiheadAttention(width, num_heads=max(1, width // 64), batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, z: Tensor, t: Tensor | int) -> Tensor:
        times = torch.as_tensor(t, device=z.device).expand(len(z))
        emb = self.time_embedding(self.time_proj(times).to(z.dtype))
        x = self.conv_in(z)
        for block in self.down_blocks:
            x, _ = block(hidden_states=x, temb=emb)
        x = self.mid_block(x, emb).flatten(2).transpose(1, 2)
        mean = x.mean(1, keepdim=True)
        pooled, _ = self.pool(self.query + mean, torch.cat([mean, x], 1), torch.cat([mean, x], 1))
        return self.head(pooled.squeeze(1))

    def gradient(self, z: Tensor, t: int, labels: Tensor) -> Tensor:
        """grad_z log p(label | z_t, t), shaped as z; each sample on its own."""
        with torch.enable_grad():
            point = z.detach().requires_grad_(True)
            log_probs = F.log_softmax(self(point, t).float(), dim=1)
            (found,) = torch.autograd.grad(log_probs.gather(1, labels.view(-1, 1)).sum(), point)
        return found.detach()


class GuideTraining:
    """AdamW with linear decay; the weights of the best noisy validation cross-entropy so far are kept.

    abar: float32 (1000,) on the device. stopped: the step at which the loss was no longer finite, -1 while it goes on.
    """

    def __init__(self, net: LatentClassifier, abar: Tensor, *, lr: float, weight_decay: float, total: int) -> None:
        self.net, self.abar, self.lr, self.total = net, abar, lr, total
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
        self.best, self.score, self.stopped = copy.deepcopy(net.state_dict()), float("inf"), -1

    def step(self, z: Tensor, labels: Tensor, done: int, autocast: Any) -> Tensor:
        """One update on clean latents z (B, zc, h, w), noised at a random time each; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * (1 - done / self.total)
        with autocast:
            loss = F.cross_entropy(self.net(*self.noised(z)).float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def noised(self, z: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """z_t and t, uniform over all times, drawn from `generator` (on the CPU) or torch's global one."""
        t = torch.randint(0, len(self.abar), (len(z),), generator=generator).to(z.device)
        noise = torch.randn(z.shape, generator=generator).to(z.device)
        abar = self.abar[t].view(-1, 1, 1, 1)
        return abar.sqrt() * z + (1 - abar).sqrt() * noise, t

    @torch.no_grad()
    def validate(self, z: Tensor, labels: Tensor, done: int, generator: torch.Generator) -> float:
        """Noisy validation cross-entropy, mean over classes; keeps the weights where it is the lowest so far.

        Not finite: training stops with the best weights; NonFinite where none were better than guessing.
        """
        self.net.eval()
        z_t, t = self.noised(z, generator)
        parts = [self.net(a, b).float() for a, b in zip(z_t.split(256), t.split(256), strict=True)]
        each = F.cross_entropy(torch.cat(parts), labels, reduction="none")
        score = float(torch.stack([each[labels == k].mean() for k in labels.unique()]).mean())
        self.net.train()
        if not score < float("inf"):
            if not self.score < 2 * math.log(parts[0].shape[1]):  # about what guessing scores
                raise NonFinite(f"the latent classifier's loss is {score} at step {done}; {self._hint()}")
            self.stopped = done
        if score < self.score:
            self.best, self.score = copy.deepcopy(self.net.state_dict()), score
        return score

    def _hint(self) -> str:
        return f"lower it: --set generator.guide_lr={self.lr / 3:g}"

    def finish(self) -> LatentClassifier:
        """The classifier with its best weights, frozen, in eval mode; a warning where training stopped early."""
        if self.stopped >= 0:
            log.warning(
                "the latent classifier's loss is not finite at step %d: the fit stops and uses its best weights; %s",
                self.stopped,
                self._hint(),
            )
        self.net.load_state_dict(self.best)
        self.net.eval().requires_grad_(False)
        return self.net

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and the best so far."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "score": self.score,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.score, self.stopped = state["best"], state["score"], state.get("stopped", -1)
