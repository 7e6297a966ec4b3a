"""Nearest class mean (Kang et al. 2020, section 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltbench.data.augment import eval_crop
from ltbench.errors import UserError
from ltbench.interfaces import Context
from ltbench.models.nets import CosineHead
from ltbench.models.standard import StandardClassifier
from ltbench_decoupling.stages import Computed


def class_means(features: np.ndarray, labels: np.ndarray, num_classes: int) -> Tensor:
    """Mean feature of each class, float32 (C, d), of features (N, d); 0 for a class without rows."""
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, features)
    counts = np.bincount(labels, minlength=num_classes)[:, None]
    return torch.from_numpy((sums / np.maximum(counts, 1)).astype(np.float32))


def train_means(classifier: StandardClassifier, context: Context) -> Tensor:
    """`class_means` of the training images in the evaluation view, on the classifier's device."""
    images = eval_crop(context.train.images, context.task.image_shape[0])
    features = classifier.features(images, context)
    return class_means(features, context.train.labels, context.task.num_classes).to(classifier.device)


class NearestClassMean(Computed):
    """Logits are `scale` times the cosines between features and class means; the scale changes confidence alone."""

    def __init__(self, *, scale: float = 10.0, eval_batch: int = 256) -> None:
        if not scale > 0:
            raise UserError(f"classifier.scale must be > 0, got {scale}")
        super().__init__(eval_batch=eval_batch)
        self.scale = scale

    def begin_second(self) -> None:
        classes, width = self.net[1].weight.shape  # type: ignore[misc]
        self.net[1] = CosineHead(width, classes, self.scale).to(self.device)

    @torch.no_grad()
    def compute(self, context: Context) -> dict[str, Any]:
        self.net[1].weight.copy_(train_means(self, context))  # type: ignore[operator]
        return {}

    def logits(self, x: Tensor) -> Tensor:
        """The cosines as they are once they are the classifier: the loss has no say in them."""
        return self.net(self.prepare(x)).float() if self.net.frozen else super().logits(x)
