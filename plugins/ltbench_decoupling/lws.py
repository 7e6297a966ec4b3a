"""Learnable weight scaling, LWS (Kang et al. 2020, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ltbench.interfaces import Context
from ltbench_decoupling.stages import FreezableNet, Trained


class ClassScale(nn.Module):
    """z_c = s_c (W_c x + b_c) of logits (B, C); s starts at 1 and does not train before `requires_grad_`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(classes), requires_grad=False)

    def forward(self, logits: Tensor) -> Tensor:
        """(B, C) -> (B, C)."""
        return logits * self.scale


class LearnableScaling(Trained):
    """Stage two trains C scales and nothing else; the release gives it 5 epochs after 90 and the first stage's rate."""

    SEARCH: ClassVar[Mapping[str, Any]] = {"share": ("log", 0.05, 0.5), "lr_scale": ("log", 0.1, 10.0)}

    def __init__(self, *, share: float = 5 / 90, lr_scale: float = 1.0, eval_batch: int = 256) -> None:
        super().__init__(share=share, lr_scale=lr_scale, eval_batch=eval_batch)

    def build(self, context: Context) -> nn.Module:
        return FreezableNet(*super().build(context).children(), ClassScale(context.task.num_classes))

    def begin_second(self) -> None:
        self.net.requires_grad_(False)
        self.net[2].requires_grad_(True)
