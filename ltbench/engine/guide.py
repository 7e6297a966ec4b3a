"""The current classifier as a differentiable judge of a generator's images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import ContractError


class ClassifierGuide:
    """log p(y | x) for x in the generator's range: to [0, 1], bilinear to the protocol's size, log-softmax."""

    def __init__(
        self, logits: Callable[[Tensor], Tensor], image_shape: tuple[int, int, int], value_range: tuple[float, float]
    ) -> None:
        self._logits = logits
        self._size, self._channels = image_shape[0], image_shape[2]
        self._low, self._high = value_range

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        """(n,) for x (n, c, h, w) and labels int64 (n,); differentiable in x, each sample on its own."""
        if x.shape[1] != self._channels:
            raise ContractError(
                f"the generator makes {x.shape[1]}-channel images, the classifier expects {self._channels}; "
                "generate as many channels as context.task.image_shape has"
            )
        x = (x - self._low) / (self._high - self._low)
        if x.shape[-1] != self._size or x.shape[-2] != self._size:
            shrink = x.shape[-1] > self._size
            x = F.interpolate(x, size=(self._size, self._size), mode="bilinear", antialias=shrink, align_corners=False)
        log_probs = F.log_softmax(self._logits(x).float(), dim=1)
        return log_probs.gather(1, labels.view(-1, 1)).squeeze(1)


def _held(value: object) -> list[nn.Module]:
    """The modules in an attribute: itself, or those of a list, tuple or dict."""
    if isinstance(value, nn.Module):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [module for item in inner for module in _held(item)]


@contextmanager
def frozen(owner: object) -> Iterator[None]:
    """Every module held by `owner` in eval mode with frozen weights; all flags are restored, also on errors."""
    roots = [module for value in vars(owner).values() for module in _held(value)]
    modules = [module for root in roots for module in root.modules()]
    parameters = [p for root in roots for p in root.parameters()]
    modes = [module.training for module in modules]
    flags = [p.requires_grad for p in parameters]
    try:
        for module in modules:
            module.training = False
        for p in parameters:
            p.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for p, flag in zip(parameters, flags, strict=True):
            p.requires_grad_(flag)
