"""Conformance of losses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ltbench
from ltbench.errors import ContractError
from ltbench.interfaces import Loss
from ltbench.registry import Component
from ltbench.testing.tiny import tiny_options
from ltbench.testing.tools import check_version, generator, require, through_disk

BATCH, EXTREME = 12, 100.0


def check_loss(component: Component, folder: Path) -> Iterator[str]:
    """Scalar, gradient, extremes, per-sample form, adjustment, state."""
    yield check_version(component)
    for classes in (3, 2):
        first = _ready(component, classes)
        require(first.head in ("linear", "cosine"), f"head must be 'linear' or 'cosine', got {first.head!r}")
        for kind in (torch.float32, torch.float64):
            _backward(_ready(component, classes), *_batch(first, classes, kind))
        torch.manual_seed(0)
        a = _ready(component, classes).loss(*_batch(first, classes))
        torch.manual_seed(0)
        b = _ready(component, classes).loss(*_batch(first, classes))
        require(torch.equal(a, b), f"two new instances give {a.item()} and {b.item()} on one batch")
        yield f"{classes} classes: finite scalar with a finite gradient, the same twice"
    loss = _ready(component, 3)
    _backward(loss, *_extreme(loss))
    yield f"logits of +-{EXTREME:g} (cosines of +-1) leave loss and gradient finite"
    logits, _ = _batch(loss, 3)
    _backward(loss, logits, torch.full((BATCH,), 2))
    yield "a batch of one class works"
    yield _per_sample(loss)
    yield _adjust(loss)
    yield _state(component, folder)


def _ready(component: Component, classes: int) -> Loss:
    loss = ltbench.build("loss", tiny_options("loss", component.id))
    require(isinstance(loss, Loss), f"{component.target} must give a ltbench.interfaces.Loss, got {type(loss)}")
    loss.setup(class_counts=np.linspace(14, 2, classes).round().astype(np.int64), total_epochs=4)
    loss.on_epoch_start(0)
    return loss


def _batch(loss: Loss, classes: int, kind: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    logits = torch.randn(BATCH, classes, generator=generator(seed), dtype=torch.float64)
    logits = torch.tanh(logits) if loss.head == "cosine" else 2 * logits
    return logits.to(kind).requires_grad_(), torch.arange(BATCH) % classes


def _extreme(loss: Loss) -> tuple[Tensor, Tensor]:
    size = 1.0 if loss.head == "cosine" else EXTREME
    logits = size * (2 * torch.eye(3).repeat(BATCH // 3, 1) - 1)
    targets = torch.cat([torch.arange(BATCH // 2), torch.arange(BATCH // 2) + 1]) % 3  # half right, half wrong
    return logits.requires_grad_(), targets


def _backward(loss: Loss, logits: Tensor, targets: Tensor) -> None:
    before = logits.detach().clone()
    value: Any = loss.loss(logits, targets)
    require(isinstance(value, Tensor) and value.shape == (), f"loss must return a scalar tensor, got {value!r}")
    require(bool(torch.isfinite(value)), f"loss is {value.item()} for logits within +-{before.abs().max():.3g}")
    require(value.requires_grad, "loss is not differentiable in the logits")
    (gradient,) = torch.autograd.grad(value, logits, allow_unused=True)
    require(gradient is not None, "loss does not depend on the logits")
    require(bool(torch.isfinite(gradient).all()), f"the gradient is not finite for logits +-{before.abs().max():.3g}")
    require(torch.equal(before, logits.detach()), "loss changed the logits it was given")


def _per_sample(loss: Loss) -> str:
    logits, targets = _batch(loss, 3)
    if type(loss).per_sample is Loss.per_sample:
        return "no per-sample form (allowed)"
    try:
        values = loss.per_sample(logits, targets)
    except ContractError as error:
        return f"no per-sample form: {error}"
    require(values.shape == (BATCH,), f"per_sample must return ({BATCH},), got {tuple(values.shape)}")
    require(bool(torch.isfinite(values).all()), "per_sample is not finite")
    return "per-sample form: one finite number a row"


def _adjust(loss: Loss) -> str:
    logits, _ = _batch(loss, 3)
    adjusted = loss.adjust(logits)
    require(adjusted.shape == logits.shape, f"adjust must keep the shape {tuple(logits.shape)}, got {adjusted.shape}")
    require(bool(torch.isfinite(adjusted).all()), "adjust gives non-finite logits")
    require(adjusted.requires_grad, "adjust must be differentiable: guides send gradients through it")
    alone = torch.cat([loss.adjust(row[None]) for row in logits])
    require(torch.allclose(alone, adjusted, atol=1e-5), "adjust depends on the other rows of the batch")
    return "adjust: finite, differentiable, row by row"


def _state(component: Component, folder: Path) -> str:
    used = _ready(component, 3)
    for epoch in range(2):
        used.on_epoch_start(epoch)
        used.loss(*_batch(used, 3, seed=epoch))
    again = _ready(component, 3)
    again.load_state_dict(through_disk(used.state_dict(), folder))
    values = []
    for loss in (used, again):
        loss.on_epoch_start(2)
        torch.manual_seed(0)
        values.append(loss.loss(*_batch(loss, 3, seed=9)).item())
    require(abs(values[0] - values[1]) <= 1e-6, f"after a resume the loss is {values[1]}, without {values[0]}")
    return "state survives a restart"
