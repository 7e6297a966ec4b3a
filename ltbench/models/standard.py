"""The stock classifier: one backbone, one head, one loss, one optimiser; three points to override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.errors import NonFinite, UserError
from ltbench.interfaces import Batch, Batches, Classifier, Context, Loss, Stage
from ltbench.models.nets import CosineHead, build_backbone
from ltbench.models.optim import build_optimizer, learning_rate

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class StandardClassifier(Classifier):
    """Backbone, head and loss of the protocol; subclasses override build, training_loss or parameter_groups."""

    version: ClassVar[int] = 2
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}, "base": {}, "paper": {}}

    def __init__(self, *, eval_batch: int = 256) -> None:
        if isinstance(eval_batch, bool) or not isinstance(eval_batch, int) or eval_batch < 1:
            raise UserError(f"classifier.eval_batch must be a whole number of images >= 1, got {eval_batch!r}")
        self.eval_batch = eval_batch
        self.loss: Loss
        self.net: nn.Module
        self.optimizer: torch.optim.Optimizer | None = None
        self.stage_epochs = 1

    def setup(self, context: Context) -> None:
        protocol = context.recipe["protocol"]
        self.protocol, self.task, self.device = protocol, context.task, context.device
        self.autocast = context.autocast
        self.loss = self.build_loss(context)
        self.loss.setup(class_counts=context.task.class_counts, total_epochs=protocol["epochs"])
        place = getattr(context, "policy", None)
        self.net = self.build(context)
        self.net = place.place(self.net) if place is not None else self.net.to(context.device)
        mean, std = self._normalisation(context)
        self.mean, self.std = (torch.tensor(v, device=context.device).view(1, -1, 1, 1) for v in (mean, std))

    def build_loss(self, context: Context) -> Loss:
        """The objective; default what the recipe puts into the slot "loss"."""
        return context.component("loss")

    def build(self, context: Context) -> nn.Module:
        """The network (B, c, h, w) -> logits (B, C): a Sequential of backbone and head."""
        size = context.task.image_shape[0]
        protocol = context.recipe["protocol"]
        path = getattr(context, "weights_path", None)
        channels_in = input_channels(context)
        backbone = build_backbone(protocol["backbone"], channels_in, size, protocol["weights"], path)
        self.channels_in = channels_in
        features = int(getattr(backbone, "num_features"))  # noqa: B009
        with torch.no_grad():
            backbone.eval()
            features = backbone(torch.zeros(1, channels_in, size, size)).shape[1]
            backbone.train()
        classes = context.task.num_classes
        head = CosineHead(features, classes) if self.loss.head == "cosine" else nn.Linear(features, classes)
        return nn.Sequential(backbone, head)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Objective and logits (B, C) of a batch."""
        with self.autocast():
            logits = self.net(self.prepare(batch.images))
        return self.loss.loss(logits.float(), batch.labels), logits

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser trains; default every parameter that asks for a gradient."""
        return [{"params": [p for p in self.net.parameters() if p.requires_grad]}]

    def _normalisation(self, context: Context) -> tuple[Any, Any]:
        return normalisation(context)

    def prepare(self, x: Tensor) -> Tensor:
        """[0, 1] to the network's input: channels repeated where it expects three, normalised."""
        return normalised(x, self.channels_in, self.mean, self.std)

    def start_stage(self, stage: Stage, context: Context) -> None:
        self.stage_epochs = stage.epochs
        self.optimizer = build_optimizer(self.protocol["optimizer"], self.parameter_groups())

    def train_epoch(self, batches: Batches, context: Context) -> dict[str, Any]:
        assert self.optimizer is not None
        self.net.train()
        total, seen = torch.zeros((), device=self.device), 0
        classes = self.task.num_classes
        hits = torch.zeros(classes, device=self.device)
        shown = torch.zeros(classes, device=self.device)
        rate = 0.0
        for step, batch in enumerate(batches):
            if step == 0:
                self.loss.on_epoch_start(batch.epoch)
            rate = learning_rate(self.protocol, batch.epoch, step, len(batches), self.stage_epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
            loss, logits = self.training_loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(batch.labels)
            seen += len(batch.labels)
            right = (logits.detach().argmax(1) == batch.labels) & ~batch.synthetic
            hits.index_add_(0, batch.labels, right.float())
            shown.index_add_(0, batch.labels, (~batch.synthetic).float())
        mean = float(total) / max(seen, 1)
        if not np.isfinite(mean):
            raise NonFinite(
                f"the training loss became {mean} in epoch {context.epoch if hasattr(context, 'epoch') else '?'}; "
                f"lower the learning rate: --set protocol.optimizer.lr={self.protocol['optimizer']['lr'] / 10:g}"
            )
        counts = {"class_correct": hits.cpu().numpy(), "class_seen": shown.cpu().numpy()}
        return {"loss": mean, "lr": rate, "images": seen, **counts}

    @torch.no_grad()
    def predict(self, images: np.ndarray, context: Context) -> np.ndarray:
        return self._forward(images, self.autocast, lambda x: torch.softmax(self.logits(x).float(), 1))

    @torch.no_grad()
    def features(self, images: np.ndarray, context: Context) -> np.ndarray:
        """Penultimate activations float32 (N, d) of uint8 images (N, h, w, c), in the precision of the context."""
        backbone = self.net[0]  # type: ignore[index]
        return self._forward(images, context.autocast, lambda x: backbone(self.prepare(x)).float())

    def _forward(self, images: np.ndarray, autocast: Any, function: Any) -> np.ndarray:
        mode = self.net.training
        self.net.eval()
        parts = []
        for start in range(0, len(images), self.eval_batch):
            raw = torch.tensor(images[start : start + self.eval_batch])
            x = raw.to(self.device).permute(0, 3, 1, 2).float() / 255
            with autocast():
                parts.append(function(x).float().cpu())
        self.net.train(mode)
        return torch.cat(parts).numpy()

    def logits(self, x: Tensor) -> Tensor:
        return self.loss.adjust(self.net(self.prepare(x)).float())

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict() if self.optimizer is not None else None
        return {"net": self.net.state_dict(), "optimizer": optimizer, "loss": self.loss.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            self.net.load_state_dict(state["net"])
        except RuntimeError as error:
            raise UserError(f"the stored weights do not fit this network: {str(error).splitlines()[0]}") from error
        self.loss.load_state_dict(state["loss"])
        if self.optimizer is not None and state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])


def input_channels(context: Context) -> int:
    """Channels that a network of this protocol reads: 3 with pre-trained weights, else those of the images."""
    return 3 if context.recipe["protocol"]["weights"] != "none" else context.task.image_shape[2]


def normalisation(context: Context) -> tuple[Any, Any]:
    """Mean and sd a channel: ImageNet's for pre-trained weights, else the training images' own."""
    if context.recipe["protocol"]["weights"] != "none":
        return IMAGENET
    images = context.train.images[:: max(1, len(context.train) // 2000)]
    values = images.reshape(-1, images.shape[3]).astype(np.float64) / 255
    return values.mean(0).astype(np.float32), np.maximum(values.std(0), 1e-3).astype(np.float32)


def normalised(x: Tensor, channels: int, mean: Tensor, std: Tensor) -> Tensor:
    """Images (B, c, h, w) with `channels` (grey ones are repeated), minus mean, over std."""
    if x.shape[1] == 1 and channels == 3:
        x = x.expand(-1, 3, -1, -1)
    return (x - mean) / std
