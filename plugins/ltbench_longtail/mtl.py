"""Multi-task learning with an auxiliary head (Liao and Luo 2018)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import UserError
from ltbench.interfaces import Batch, Context
from ltbench.models.standard import StandardClassifier
from ltbench.options import number

SITES = ("localization", "site")  # columns that `aux="auto"` takes
UNKNOWN = ("", "nan", "none", "unknown")
ROTATIONS = 4
HEALTHY = re.compile(r"normal|healthy|no[ _]dr|benign", re.IGNORECASE)
log = logging.getLogger("ltbench")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B,) where mask (B,) holds, 0 where it holds nowhere."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def joint_loss(main: Tensor, values: Tensor, mask: Tensor, weight: float) -> Tensor:
    """L_class + weight * L_aux, L_aux the mean of values (B,) where the auxiliary label is known."""
    return main + weight * masked_mean(values, mask)


def codes(column: np.ndarray) -> tuple[np.ndarray, int]:
    """Class of each entry, int64 (N,), -1 where unknown or missing, and the number of classes."""
    names = np.array([str(value).strip().lower() for value in column])
    known = ~np.isin(names, UNKNOWN)
    classes, index = np.unique(names[known], return_inverse=True)
    result = np.full(len(names), -1, dtype=np.int64)
    result[known] = index
    return result, len(classes)


class TwoHeads(nn.Sequential):
    """Backbone, class head and auxiliary head; forward gives the class logits (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x))


class MultiTask(StandardClassifier):
    """loss + weight * cross-entropy of an auxiliary task on the same features; the class head alone predicts.

    aux: "metadata:COLUMN" of the data set, "coarse_label" (class `healthy` against the rest), "rotation" (by quarter
    turns, seen by the auxiliary head alone), or "auto": a body site where the data set has one, else "coarse_label".
    healthy: a class index; None: the first class whose name says so (normal, healthy, ...), else class 0.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"weight": ("log", 0.1, 10.0)}

    def __init__(
        self, *, aux: str = "auto", weight: float = 1.0, healthy: int | None = None, eval_batch: int = 256
    ) -> None:
        if aux not in ("auto", "coarse_label", "rotation") and not aux.startswith("metadata:"):
            raise UserError(f"classifier.aux must be auto, metadata:COLUMN, coarse_label or rotation, got {aux!r}")
        super().__init__(eval_batch=eval_batch)
        self.aux, self.healthy = aux, healthy
        self.weight = number("classifier.weight", weight)

    def build(self, context: Context) -> nn.Module:
        self.context = context
        self.task_name, classes = self._task(context)
        backbone, head = super().build(context).children()
        return TwoHeads(backbone, head, nn.Linear(head.weight.shape[1], classes))  # type: ignore[union-attr, index, arg-type]

    def _task(self, context: Context) -> tuple[str, int]:
        """The auxiliary task and its number of classes; UserError where the data cannot give it."""
        columns = context.train.aux
        site = next((f"metadata:{name}" for name in SITES if name in columns), "coarse_label")
        name = site if self.aux == "auto" else self.aux
        if name == "rotation":
            return name, ROTATIONS
        if name == "coarse_label":
            self._choose_healthy(context.task.class_names)
            return name, 2
        column = name.removeprefix("metadata:")
        if column not in columns:
            raise UserError(
                f"mtl: the data set has no column {column!r}; it has: {', '.join(sorted(columns)) or 'none'}; "
                "use --set classifier.aux=coarse_label or rotation"
            )
        table, classes = codes(columns[column])
        if classes < 2:
            raise UserError(f"mtl: column {column!r} has fewer than 2 known values; use --set classifier.aux=rotation")
        self.table = torch.from_numpy(table).to(context.device)
        return name, classes

    def _choose_healthy(self, names: Sequence[str]) -> None:
        """Settle which class is healthy, and say it; UserError for an index that is no class."""
        if self.healthy is None:
            self.healthy = next((i for i, name in enumerate(names) if HEALTHY.search(name)), 0)
        if not 0 <= self.healthy < len(names):
            raise UserError(f"classifier.healthy must be a class 0..{len(names) - 1}, got {self.healthy}")
        told = f"mtl: the auxiliary task is coarse_label, class {names[self.healthy]!r} against the rest"
        if len(names) == 2:
            told += ": with two classes that is the main task again; use --set classifier.aux=rotation"
        log.warning(told)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        backbone, head, aux_head = self.net.children()
        with self.autocast():
            features = backbone(self.prepare(batch.images))
            logits = head(features).float()
            turns = self._turns(batch) if self.task_name == "rotation" else None
            if turns is not None:
                features = backbone(self.prepare(rotated(batch.images, turns)))
            guess = aux_head(features).float()
        labels = self._labels(batch) if turns is None else turns
        values = F.cross_entropy(guess, labels.clamp(min=0), reduction="none")
        return joint_loss(self.loss.loss(logits, batch.labels), values, labels >= 0, self.weight), logits

    def _turns(self, batch: Batch) -> Tensor:
        drawn = self.context.rng("rotation", batch.step).integers(0, ROTATIONS, len(batch.labels))
        return torch.from_numpy(drawn).to(batch.labels.device)

    def _labels(self, batch: Batch) -> Tensor:
        """Auxiliary labels int64 (B,), -1 where unknown; a synthetic image has no metadata."""
        if self.task_name == "coarse_label":
            return batch.labels.ne(int(self.healthy or 0)).long()
        return torch.where(batch.synthetic, -1, self.table[batch.rows.clamp(min=0)])


def rotated(images: Tensor, turns: Tensor) -> Tensor:
    """Images (B, c, s, s), image i turned by turns[i] quarters."""
    stacked = torch.stack([torch.rot90(images, k, (2, 3)) for k in range(ROTATIONS)])
    return stacked[turns, torch.arange(len(images), device=images.device)]
