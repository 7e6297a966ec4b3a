"""The decoder D', adapted to the labelled images while encoder and diffusion model stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ltbench_diffusion.autoencoder import Autoencoder
from ltbench_diffusion.last_good import LastGood
from torch import Tensor

LogProb = Callable[[Tensor, Tensor], Tensor]  # x (B, c, H, W) in [-1, 1], labels (B,) -> log p (B,)
Reconstruction = Callable[[Tensor, Tensor], Tensor]  # x, made -> error at every pixel (B, c, H, W)


class DecoderTuning:
    """Reconstruction plus ce_weight times the cross-entropy of a frozen image classifier; Ye et al. 2023, equation 5.

    The reconstruction is summed over pixels and averaged over the batch, as in the autoencoder's own training. total:
    steps that will be done.
    """

    def __init__(
        self,
        coder: Autoencoder,
        reconstruction: Reconstruction,
        log_prob: LogProb,
        *,
        lr: float,
        ce_weight: float,
        total: int,
    ) -> None:
        self.coder, self.reconstruction, self.log_prob, self.ce_weight = coder, reconstruction, log_prob, ce_weight
        net: Any = coder.net
        self.parts = [net.post_quant_conv, net.decoder]
        for part in self.parts:
            part.train().requires_grad_(True)
        weights = [p for part in self.parts for p in part.parameters()]
        self.optimizer = torch.optim.Adam(weights, lr=lr)
        hint = f"lower it: --set generator.decoder_lr={lr / 3:g}"
        self.good = LastGood(lambda: weights, total, what="the decoder's loss", hint=hint)

    def step(self, x: Tensor, labels: Tensor, autocast: Any) -> dict[str, Tensor]:
        """One update on images x (B, c, H, W) in [-1, 1]; returns the terms, each a scalar."""
        with torch.no_grad():
            mean, sd = self.coder.moments(x)
            z = mean + sd * torch.randn_like(mean)
        with autocast:
            made = self.coder.decode(z).float()
        error = self.reconstruction(x, made).flatten(1).sum(1).mean()
        entropy = -self.log_prob(made, labels).mean()
        self.optimizer.zero_grad(set_to_none=True)
        (error + self.ce_weight * entropy).backward()
        self.optimizer.step()
        return {"reconstruction": error.detach(), "cross_entropy": entropy.detach()}

    def finish(self) -> None:
        """Freeze the decoder again."""
        for part in self.parts:
            part.eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """The decoder's weights, the optimiser and the last good weights."""
        parts = [part.state_dict() for part in self.parts]
        return {"parts": parts, "optimizer": self.optimizer.state_dict(), "good": self.good.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.good.load_state_dict(state.get("good", {}))
