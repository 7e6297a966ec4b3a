"""What class-conditional adversarial generators share: the fit with its best snapshot, and drawing from streams."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.errors import NonFinite
from ltbench.interfaces import Context, Generator, Guide, ImagePool, ImageTable
from ltbench.models.drawing import Streams, TrainingRows, asked_counts, at_once, draw_images, wanted_labels
from ltbench.models.frames import Frame
from ltbench.models.images import to_signed
from ltbench.models.pretraining import pretrained
from ltbench.models.snapshots import Snapshots

log = logging.getLogger("ltbench")
Draw = Callable[[int], Tensor]  # n -> labels (n,) for generated images
Autocast = Callable[[], AbstractContextManager]
LABELLED = frozenset({"label_power", "snapshot_kimg", "snapshot_images"})  # of the fit with labels alone


class Training(Protocol):
    """One adversarial game: `average` draws the images, `stopped` says why it ended early ("" while it goes on)."""

    stopped: str

    @property
    def average(self) -> nn.Module: ...

    def step(self, i: int, real: Tensor, labels: Tensor, draw: Draw, autocast: Autocast) -> None:
        """Iteration i on real images (B, c, size, size) in [-1, 1] with labels (B,)."""
        ...

    def prepare(self) -> None:
        """Make `average` ready for drawing."""
        ...

    def notes(self) -> dict[str, float]:
        """Numbers about the end of training for the record."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class _Progress:
    """What a fit must keep over a kill."""

    def __init__(self, training: Training, snapshots: Snapshots | None) -> None:
        self.training, self.snapshots = training, snapshots

    def state_dict(self) -> dict[str, Any]:
        kept = None if self.snapshots is None else self.snapshots.state_dict()
        return {"training": self.training.state_dict(), "snapshots": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.training.load_state_dict(state["training"])
        if self.snapshots is not None:
            self.snapshots.load_state_dict(state["snapshots"])


class AdversarialGenerator(Generator):
    """Base of class-conditional adversarial generators; a guide is ignored.

    Needs the options size, max_size, kimg, train_batch, label_power, hflip, vflip, snapshot_kimg, snapshot_images,
    sample_batch, pretrain and pretrain_kimg, and a class attribute `sampling` with the options on which the fit does
    not depend.
    """

    later_options: ClassVar[frozenset[str]] = frozenset({"pretrain", "pretrain_kimg"})  # off where they are not true
    sampling: frozenset[str] = frozenset()
    conditional = True
    options: dict[str, Any]

    @abstractmethod
    def resolved(self, o: dict[str, Any], context: Context) -> dict[str, Any]:
        """The fit's options with automatic values worked out; size is known."""

    @abstractmethod
    def game(self, o: Mapping[str, Any], context: Context) -> Training:
        """Networks and optimisers, initialised from torch's global generator."""

    def unlabelled_game(self, o: Mapping[str, Any], context: Context) -> Training:
        """As `game`, for a pre-training in which every label is -1."""
        return self.game(o, context)

    @abstractmethod
    def adopt(self, training: Any, before: Any) -> None:
        """Take the weights of a pre-training over, in place."""

    @abstractmethod
    def images(self, network: Any, streams: Streams, rows: np.ndarray, labels: Tensor, attempt: int) -> Tensor:
        """Images (B, c, size, size) in [-1, 1] of the rows of the streams, whose labels (B,) are on the device."""

    @abstractmethod
    def advice(self) -> str:
        """What to try where training breaks off."""

    def fit(self, table: ImageTable, context: Context) -> None:
        self.num_classes, self.device = context.task.num_classes, context.device
        self.frame = Frame.choose(table.images.shape[1:], self.options["size"], self.options["max_size"])
        self.channels = table.images.shape[3]
        rows = TrainingRows(table.labels, context.task.class_names, self.options["label_power"])
        o, snapshots = self.fit_values(context), None
        if o["snapshot_kimg"]:
            snapshots = Snapshots(context.reference("features"), context.held_out, o["snapshot_images"])
            o["held_out"] = snapshots.key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng("networks").integers(2**63)))
            training = self.game(o, context)
        if o["pretrain"]:
            pool = context.pool(o["pretrain"])
            self.adopt(training, self._pretrained(pool, context))
            o["pool"] = pool.content
        images, labels = self.frame.enter(table.images).to(self.device), torch.as_tensor(table.labels).to(self.device)
        batch = o["train_batch"]
        total = max(1, -(-round(o["kimg"] * 1000) // batch))
        every = max(1, round(o["snapshot_kimg"] * 1000 / batch))
        for i in context.steps("gan", total, _Progress(training, snapshots), options=self._key(o)):
            if training.stopped:
                continue
            chosen = rows.rows(batch).to(self.device)
            real = _flipped(to_signed(images[chosen]), o["hflip"], o["vflip"])
            training.step(i, real, labels[chosen], lambda n: rows.labels(n).to(self.device), context.autocast)
            if snapshots and not training.stopped and ((i + 1) % every == 0 or i + 1 == total):
                self._snapshot(training, snapshots, (i + 1) * batch / 1000)
        self._finish(training, snapshots)

    def fit_values(self, context: Context, **given: Any) -> dict[str, Any]:
        """Every value on which the fit depends, for this context's images; given: in place of the options."""
        o = {name: value for name, value in (self.options | given).items() if name not in self.sampling}
        o.update(size=self.frame.size, padded=self.frame.padded)
        return self.resolved(o, context)

    def _key(self, o: Mapping[str, Any]) -> dict[str, Any]:
        """The values that stand in the key of a phase: later options only where they are in use."""
        return {name: value for name, value in o.items() if value or name not in self.later_options}

    def _pretrained(self, pool: ImagePool, context: Context) -> Training:
        """The training on images without labels, whose weights the fit starts from."""
        kimg = self.options["pretrain_kimg"] or self.options["kimg"]
        o = self.fit_values(context, kimg=kimg, **dict.fromkeys(self.later_options))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng("pretraining-networks").integers(2**63)))
            training = self.unlabelled_game(o, context)

        def real(rows: Tensor) -> Tensor:
            images = self.frame.enter(pool.take(rows.numpy())).to(self.device)
            return _flipped(to_signed(images), o["hflip"], o["vflip"])

        key = {name: value for name, value in self._key(o).items() if name not in LABELLED}
        return pretrained(training, pool, real, context, kimg=kimg, batch=o["train_batch"], key=key)

    def _snapshot(self, training: Training, snapshots: Snapshots, kimg: float) -> None:
        """Offer the average for the best snapshot; one that draws unusable images is passed over."""
        training.prepare()
        try:
            images, _ = self._draw(training.average, snapshots.labels, 0)
        except NonFinite:
            return
        snapshots.offer(images, training.average, kimg)

    def _finish(self, training: Training, snapshots: Snapshots | None) -> None:
        best = None if snapshots is None else snapshots.best
        self.network = training.average
        self._notes: dict[str, float] = {}
        self._fitted = {**training.notes(), "stopped": float(bool(training.stopped))}
        if training.stopped:
            if snapshots is None or best is None:
                raise NonFinite(f"{training.stopped}, before any good snapshot; {self.advice()}")
            kept = f"kept the snapshot after {snapshots.kimg:g} thousand images"
            log.warning("%s; %s. To go on, %s", training.stopped, kept, self.advice())
        if snapshots is not None and best is not None:
            self.network.load_state_dict(best)
            self._fitted.update(snapshot_kimg=snapshots.kimg, snapshot_distance=snapshots.distance)
        else:
            training.prepare()

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        counts = asked_counts(counts, self.num_classes)
        labels = wanted_labels(counts)
        images, dropped = self._draw(self.network, labels, int(rng.integers(2**63)))
        saturated = float(np.isin(images, (0, 255)).mean()) if len(images) else 0.0
        self._notes = {"saturated": saturated, "dropped": float(dropped)}
        return images, labels

    @torch.no_grad()
    def _draw(self, network: nn.Module, labels: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
        """Images uint8 (n, H, W, c) of labels (n,), and how many were drawn again."""
        streams = Streams(seed, labels)

        def run(rows: np.ndarray, attempt: int) -> Tensor:
            wanted = torch.as_tensor(labels[rows]).to(self.device)
            return self.frame.leave(self.images(network, streams, rows, wanted, attempt))

        shape = (self.channels, self.frame.drawn, self.frame.drawn)
        hint = f"as a collapsed generator draws them; {self.advice()}"
        batch = at_once(self.options["sample_batch"], shape, self.device)
        return draw_images(len(labels), shape, run, batch=batch, hint=hint)

    def notes(self) -> dict[str, float]:
        """saturated: share of pixels at 0 or 255; dropped: images drawn again; stopped: 1 where training broke off.

        snapshot_kimg, snapshot_distance: age in thousand images and held-out distance of the weights in use.
        """
        return {**self._notes, **self._fitted}


def _flipped(x: Tensor, horizontally: bool, vertically: bool) -> Tensor:
    """x (B, c, H, W) with each image mirrored with probability 1/2 along each of the axes in use."""
    for wanted, axis in ((horizontally, 3), (vertically, 2)):
        if wanted:
            chosen = torch.rand(len(x), device=x.device) < 0.5
            x = torch.where(chosen[:, None, None, None], x.flip(axis), x)
    return x
