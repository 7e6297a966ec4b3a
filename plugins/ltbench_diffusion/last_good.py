"""What a training loop that may diverge falls back to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ltbench.errors import NonFinite

log = logging.getLogger("ltbench")


class LastGood:
    """Copies of weights, taken at every look at which the loss and they were finite.

    weights: gives them as they are now. what: the loss in words. hint: what to do about a divergence. stopped: the
    step at which the loop broke off, -1 while it goes on.
    """

    def __init__(self, weights: Callable[[], Iterable[Tensor]], what: str, hint: str) -> None:
        self.weights, self.what, self.hint = weights, what, hint
        self.kept: list[Tensor] = []
        self.stopped = -1

    @torch.no_grad()
    def look(self, loss: Tensor, step: int) -> None:
        """Keep the weights; where something is not finite, put the last ones back, NonFinite where there are none."""
        now = list(self.weights())
        if torch.isfinite(loss) and all(bool(torch.isfinite(w).all()) for w in now):
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
        """The copies and where the loop broke off."""
        return {"kept": self.kept, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; {} for a fit of a version that kept nothing."""
        device = next(iter(self.weights())).device
        self.kept = [w.to(device) for w in state.get("kept", [])]
        self.stopped = state.get("stopped", -1)
