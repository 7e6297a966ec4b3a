"""The class prior in the logits: balanced softmax and logit adjustment, in training or afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ltbench.options import number
from ltbench_losses.base import MeanLoss, checked
from ltbench_losses.ce import CrossEntropy
from ltbench_losses.counts import CountLoss


class _LogPrior(CountLoss):
    """Holds tau log pi, nats."""

    def __init__(self, *, id: str, tau: float, min_count: int) -> None:
        super().__init__(min_count=min_count)
        self.tau = number("loss.tau", tau, example=1)

    def per_class(self, counts: np.ndarray) -> np.ndarray:
        return self.tau * np.log(counts / counts.sum())


class LogitAdjustment(_LogPrior, MeanLoss):
    """Cross-entropy of z + tau log pi in training, prediction by z (Menon et al. 2021).

    tau: 0 gives cross-entropy. min_count: as in CountLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"tau": ("linear", 0.0, 2.0)}

    def __init__(self, *, tau: float = 1.0, min_count: int = 0) -> None:
        super().__init__(id="logit-adjustment", tau=tau, min_count=min_count)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        z = checked(logits, targets)
        return F.cross_entropy(z + self.vector.like(z), targets, reduction="none")


class BalancedSoftmax(LogitAdjustment):
    """Cross-entropy of z + log n in training, prediction by z (Ren et al. 2020).

    min_count: as in CountLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, *, min_count: int = 0) -> None:
        super().__init__(tau=1.0, min_count=min_count)


class PostHocLogitAdjustment(_LogPrior, CrossEntropy):
    """Cross-entropy in training, prediction by z - tau log pi (Menon et al. 2021).

    tau: 0 gives cross-entropy's predictions. min_count: as in CountLoss.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"tau": ("linear", 0.0, 2.0)}

    def __init__(self, *, tau: float = 1.0, min_count: int = 0) -> None:
        CrossEntropy.__init__(self)
        _LogPrior.__init__(self, id="logit-adjustment-posthoc", tau=tau, min_count=min_count)

    def adjust(self, logits: Tensor) -> Tensor:
        return logits - self.vector.like(logits)
