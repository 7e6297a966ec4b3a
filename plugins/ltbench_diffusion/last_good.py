"""What a training loop that may diverge falls back to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ltbench.errors import NonFinite

log = logging.getLogger("ltbench")
EVERY = 100  # steps between two looks


class LastGood:
    """Copies of weights, taken at every look at which they and the loss were finite and it was no worse than at first.

    weights: gives them as they are now. total: steps of the loop. what: the loss in words. hint: what to do about a
    divergence. stopped: the step at which the loop broke off, -1 while it goes on.
    """

    def __init__(self, weights: Callable[[], Iterable[Tensor]], total: int, *, what: str, hint: str) -> None:
        self.weights, self.total, self.what, self.hint = weights, total, what, hint
        self.kept: list[Tensor] = []
        self.first: Tensor | None = None
        self.stopped = -1

    @torch.no_grad()
    def look(self, loss: Tensor, step: int) -> None:
        """After every 100th and the last step: keep the weights; a loss of up to twice the first one is no worse.

        Where something is not finite, put the last ones back and stop; NonFinite where there are none.
        """
        if step == 0:
            self.first = loss.detach().clone()
        if step % EVERY != EVERY - 1 and step != self.total - 1:
            return
        now = list(self.weights())
        if torch.isfinite(loss) and all(bool(torch.isfinite(w).all()) for w in now):
            if self.first is None or loss <= self.first + self.first.abs():
                self.kept = [w.detach().clone() for w in now]
            return
        if not self.kept:
            raise NonFinite(f"{self.what} is {loss.item()} at step {step}; {self.hint}")
        for w, kept in zip(now, self.kept, strict=True):
            w.copy_(kept)
        self.stopped = step

    def say(self) -> None:
        """Warn where the loop broke off."""
        if self.stopped >= 0:
            log.warning(
                "%s is not finite at step %d: the fit stops and uses its last good weights; %s",
                self.what,
                self.stopped,
                self.hint,
            )

    def state_dict(self) -> dict[str, Any]:
        """The copies, the first loss and where the loop broke off."""
        return {"kept": self.kept, "first": self.first, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; {} for a fit of a version that kept nothing."""
        device = next(iter(self.weights())).device
        self.kept = [w.to(device) for w in state.get("kept", [])]
        first = state.get("first")
        self.first, self.stopped = None if first is None else first.to(device), state.get("stopped", -1)
