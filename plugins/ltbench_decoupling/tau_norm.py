"""tau-normalised classifier (Kang et al. 2020, section 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.interfaces import Context
from ltbench.metrics import classification
from ltbench_decoupling.stages import Computed


def tau_normalised(weight: Tensor, tau: float) -> Tensor:
    """W_c / |W_c|_2^tau, (C, d); Kang et al. 2020, equation 4."""
    return weight / weight.norm(dim=1, keepdim=True).clamp_min(1e-12) ** tau


class TauNormalised(Computed):
    """The bias is dropped as in the release; tau is the best on validation of 0, step, ..., largest, ties to the least.

    "Best" is by the protocol's selection metric.
    """

    def __init__(self, *, largest: float = 2.0, step: float = 0.1, eval_batch: int = 256) -> None:
        if not step > 0 or not largest >= 0:
            raise UserError(f"classifier.step must be > 0 and largest >= 0, got {step} and {largest}")
        super().__init__(eval_batch=eval_batch)
        self.taus = [round(k * step, 10) for k in range(int(largest / step + 1e-9) + 1)]

    def begin_second(self) -> None:
        if not isinstance(self.net[1], nn.Linear):
            raise UserError("tau-norm needs a linear head and this loss has a cosine head; use --set loss=ce")

    @torch.no_grad()
    def compute(self, context: Context) -> dict[str, Any]:
        head = self.net[1]
        assert isinstance(head, nn.Linear)
        features = torch.from_numpy(self.features(context.val.images, context)).to(self.device)
        choices = [tau_normalised(head.weight, tau) for tau in self.taus]
        scores = [self._score(features @ weight.T, context) for weight in choices]
        best = int(np.argmax(scores))  # the first of equals
        head.weight.copy_(choices[best])
        head.bias.zero_()
        return {"tau": self.taus[best]}

    def _score(self, logits: Tensor, context: Context) -> float:
        probs = torch.softmax(self.loss.adjust(logits), 1).cpu().numpy()
        return float(classification(context.val.labels, probs)[self.protocol["select"]])
