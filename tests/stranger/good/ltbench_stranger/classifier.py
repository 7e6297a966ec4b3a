"""A linear network with a momentum of its own, straight from the base class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.interfaces import Batches, Classifier, Context


class NearestMean(Classifier):
    """softmax(-|Wx - m_k|^2 / d) with learned projection W and class means m."""

    def __init__(self, *, width: int = 32, lr: float = 0.01) -> None:
        self.width, self.lr = width, lr

    def setup(self, context: Context) -> None:
        height, across, channels = context.task.image_shape
        self.loss = context.component("loss")
        self.loss.setup(class_counts=context.task.class_counts, total_epochs=context.recipe["protocol"]["epochs"])
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(height * across * channels, self.width)).to(context.device)
        self.means = nn.Parameter(torch.randn(context.task.num_classes, self.width, device=context.device))
        self.optimizer = torch.optim.Adam([*self.net.parameters(), self.means], lr=self.lr)

    def scores(self, x: Tensor) -> Tensor:
        return -(torch.cdist(self.net(x - 0.5), self.means) ** 2) / self.width

    def logits(self, x: Tensor) -> Tensor:
        return self.loss.adjust(self.scores(x))

    def train_epoch(self, batches: Batches, context: Context) -> dict[str, Any]:
        losses = []
        for batch in batches:
            value = self.loss.loss(self.scores(batch.images), batch.labels)
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
            losses.append(value.detach())
        return {"loss": float(torch.stack(losses).mean())}

    @torch.no_grad()
    def predict(self, images: np.ndarray, context: Context) -> np.ndarray:
        x = torch.tensor(images, device=context.device).permute(0, 3, 1, 2).float() / 255
        return torch.softmax(self.logits(x), 1).cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "means": self.means.detach(), "adam": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.means.data.copy_(state["means"])
        self.optimizer.load_state_dict(state["adam"])
