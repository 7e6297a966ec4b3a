"""Training of a noise predictor: optimiser, moving average, learning rate, and what is kept where it diverges."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import NonFinite
from ltbench_diffusion.parallel import average, average_gradients

log = logging.getLogger("ltbench")
CHECK = 50  # steps between two looks at the loss
DECAY = 0.3  # the last share of the steps, with cosine decay
Objective = Callable[..., Tensor]  # network, x0 (B, c, h, w), labels (B,), targets if any -> scalar loss


def learning_rate(step: int, total: int, warmup: int) -> float:
    """Factor of the learning rate at a step: linear warm-up, constant, cosine decay over the last 30 %."""
    first = min(1.0, (step + 1) / (min(warmup, 0.2 * total) + 1))
    late = max(0.0, (step - (1 - DECAY) * total) / (DECAY * total))
    return first * float(torch.cos(torch.tensor(late * torch.pi / 2)) ** 2)


class DiffusionTraining:
    """The trainable parameters of a network, AdamW and their moving average, decay min(ema, (1 + n) / (10 + n)).

    Gradients are cut at norm `clip`. Where the loss becomes non-finite, training stops and the last average known to
    be good is used; NonFinite where there is none. `facts` travel with the weights: what the network predicts.
    what and rate name the loss and the option of its learning rate in messages.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        *,
        lr: float,
        ema: float,
        total: int,
        warmup: int,
        clip: float = 1.0,
        facts: dict[str, Any] | None = None,
        what: str = "diffusion loss",
        rate: str = "generator.lr",
    ) -> None:
        from diffusers.training_utils import EMAModel

        self.net, self.objective, self.facts, self.what, self.rate = net, objective, facts or {}, what, rate
        self.trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=lr)
        self.ema: Any = EMAModel(self.trained.values(), decay=ema, foreach=True)
        self.lr, self.total, self.warmup, self.clip = lr, total, warmup, clip
        self.good: list[Tensor] = []
        self.stopped = -1

    def step(self, x0: Tensor, labels: Tensor, done: int, autocast: Any, *targets: Tensor) -> None:
        """One update on a batch, with what else the objective takes of it; nothing once training has stopped."""
        if self.stopped >= 0:
            return
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * learning_rate(done, self.total, self.warmup)
        with autocast:
            loss = self.objective(self.net, x0, labels, *targets)
        seen = loss.detach().clone()
        average([seen])
        if (done % CHECK == 0 or done == self.total - 1) and not self._sound(seen, done):
            return
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.trained.values())
        nn.utils.clip_grad_norm_(self.trained.values(), self.clip)
        self.optimizer.step()
        self.ema.step(self.trained.values())

    def _sound(self, loss: Tensor, done: int) -> bool:
        if torch.isfinite(loss):
            self.good = [p.clone() for p in self.ema.shadow_params] if done else []
            return True
        self._stop(f"{self.what} is {loss.item()} at step {done}", done)
        return False

    @property
    def _hint(self) -> str:
        return f"lower the rate: --set {self.rate}={self.lr / 3:g}"

    def _stop(self, what: str, done: int) -> None:
        if not self.good:
            raise NonFinite(f"{what}; {self._hint}")
        self.stopped = done

    def finish(self) -> Any:
        """The network with the averaged weights, frozen, in eval mode; a warning where training stopped early."""
        self.optimizer.zero_grad(set_to_none=True)
        averaged = self.ema.shadow_params
        if self.stopped < 0 and not all(torch.isfinite(p).all() for p in averaged):
            self._stop("a weight is not finite after the last step", self.total)
        if self.stopped >= 0:
            said = "%s is not finite at step %d: the fit stops and uses its last good moving average; %s"
            log.warning(said, self.what, self.stopped, self._hint)
        with torch.no_grad():
            for p, kept in zip(self.trained.values(), self.good if self.stopped >= 0 else averaged, strict=True):
                p.copy_(kept)
        return self.net.eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, moving average, the last good one, and the facts."""
        return {
            "net": {name: p.detach() for name, p in self.trained.items()},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "good": self.good,
            "stopped": self.stopped,
            "facts": self.facts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(state["net"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        device = next(iter(self.trained.values())).device
        self.ema.to(device)
        self.good = [p.to(device) for p in state["good"]]
        self.stopped, self.facts = state["stopped"], state["facts"]
