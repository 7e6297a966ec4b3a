"""What the decoupled classifiers share: a first stage as usual, a second one on a frozen backbone."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from ltbench.errors import UserError
from ltbench.interfaces import Batches, Context, Stage
from ltbench.models.standard import StandardClassifier

SECOND = "classifier"


class FreezableNet(nn.Sequential):
    """Backbone, head, ...; a frozen backbone has no gradients and stays in eval mode, so BatchNorm does not drift."""

    frozen = False

    def freeze(self) -> None:
        """Freeze the backbone for good."""
        self.frozen = True
        self[0].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> FreezableNet:
        super().train(mode)
        if self.frozen:
            self[0].eval()
        return self


class Decoupled(StandardClassifier):
    """Stage "representation" is the standard training; `begin_second` prepares the stage on its frozen features."""

    net: FreezableNet

    def build(self, context: Context) -> nn.Module:
        return FreezableNet(*super().build(context).children())

    def start_stage(self, stage: Stage, context: Context) -> None:
        if stage.name == SECOND:
            self.net.freeze()
            self.begin_second()
        super().start_stage(stage, context)

    def begin_second(self) -> None:
        """Change the head for the second stage; default nothing."""


class Trained(Decoupled):
    """Stage two trains on class-balanced batches for `share` of the epochs, at `lr_scale` times the protocol's rate."""

    def __init__(self, *, share: float, lr_scale: float, eval_batch: int) -> None:
        if not share > 0 or not lr_scale > 0:
            raise UserError(f"classifier.share and lr_scale must be > 0, got {share} and {lr_scale}")
        super().__init__(eval_batch=eval_batch)
        self.share, self.lr_scale = share, lr_scale

    def stages(self, epochs: int) -> list[Stage]:
        second = Stage(SECOND, max(1, round(self.share * epochs)), sampler="class-balanced")
        return [Stage("representation", epochs), second]

    def parameter_groups(self) -> list[dict[str, Any]]:
        scale = self.lr_scale if self.net.frozen else 1.0
        return [{**group, "lr_scale": scale} for group in super().parameter_groups()]


class Computed(Decoupled):
    """Stage two is one "epoch" without gradients: `compute` sets the head, the engine validates and keeps it."""

    def stages(self, epochs: int) -> list[Stage]:
        return [Stage("representation", epochs), Stage(SECOND, 1)]

    def train_epoch(self, batches: Batches, context: Context) -> dict[str, Any]:
        return self.compute(context) if self.net.frozen else super().train_epoch(batches, context)

    @abstractmethod
    def compute(self, context: Context) -> dict[str, Any]:
        """Set the head from data; returns scalars for the history."""
