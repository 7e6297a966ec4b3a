"""The base of class-conditional diffusion generators: one fit, label dropout, streams per image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltbench.errors import UserError
from ltbench.interfaces import Context, Generator, Guide, ImageTable
from ltbench.models.drawing import Streams, asked_counts, at_once, draw_images, wanted_labels
from ltbench.models.images import resized
from ltbench_diffusion.examples import Examples, learn
from ltbench_diffusion.label_options import check_cfg
from ltbench_diffusion.training import DiffusionTraining
from ltbench_diffusion.unet import build_unet, check_manifest, exact_shape, fit_shape, load_unet, save_unet

Make = Callable[[Callable[[int], Tensor], Tensor], Tensor]  # noise, labels (B,) -> images (B, c, h, w) in [-1, 1]


class LabelDiffusion(Generator):
    """A U-Net with K class embeddings and a null one, index K, which stands in with probability p_uncond per sample.

    Subclasses give the objective, the reverse process and what they must know of the data; see `DDPM` and `EDM`.
    """

    conditional = True
    options: dict[str, Any]
    shape: tuple[int, int, int]  # (c, h, w) of what the network sees
    learned: Examples  # what it was fitted on

    @abstractmethod
    def objective(self, net: Any, x0: Tensor, labels: Tensor) -> Tensor:
        """The training loss, a scalar, of x0 (B, c, h, w) and labels (B,), already dropped to null."""

    @abstractmethod
    def reverse(self, noise: Callable[[int], Tensor], labels: Tensor) -> Tensor:
        """x0 (B, c, h, w) of these classes; noise(0) starts it, noise(i) is for step i, standard normal."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a network means, to be kept with its weights; has "prediction"."""

    def measure(self, x: Tensor) -> None:
        """Learn from the training inputs (n, c, h, w), uint8 or float, what is needed before training."""

    def examples(self, table: ImageTable, context: Context) -> Examples:
        """What the network learns from, pixels here; sets `shape`."""
        o = self.options
        if o["size"]:
            size, _ = exact_shape(o["size"], o["widths"])
        else:
            size, _ = fit_shape(max(table.images.shape[1:3]), o["max_size"], o["widths"])
        self.shape = (table.images.shape[3], size, size)
        return Examples(
            resized(table.images, self.shape[1:]), table.labels, context, power=o["label_power"], mirror=self.flip
        )

    def fit(self, table: ImageTable, context: Context) -> None:
        o = self.options
        self.num_classes, self.device, self.autocast = context.task.num_classes, context.device, context.autocast
        self.train_ids, self.stopped, self.p_uncond = table.ids, -1, float(o["p_uncond"])
        self.flip = bool(context.recipe["protocol"]["augment"]["flip"]) if o["flip"] is None else o["flip"]
        self.learned = self.examples(table, context)
        self.measure(self.learned.x)
        if o.get("unet_path"):
            self.net = self._load(o["unet_path"], context).to(self.device).eval().requires_grad_(False)
        else:
            self.net = self.train(self.learned, context)

    def network(self) -> Any:
        """The network to train, x (B, c, h, w), t (B,), class_labels (B,) -> .sample (B, c, h, w)."""
        o = self.options
        return build_unet(
            size=self.shape[1],
            channels=self.shape[0],
            widths=fit_shape(self.shape[1], self.shape[1], o["widths"])[1],
            blocks=o["blocks"],
            attention=o["attention"],
            num_classes=self.num_classes + 1,
            dropout=o["dropout"],
        )

    def train(self, examples: Examples, context: Context) -> Any:
        """The fitted network, frozen."""
        o = self.options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng("unet-start").integers(2**63)))
            net = self.network()
        training = DiffusionTraining(
            net.to(self.device).train(),
            self.objective,
            lr=o["lr"],
            ema=o["ema"],
            total=o["train_steps"],
            warmup=o["warmup"],
            facts=self.facts(),
        )
        key = {name: o[name] for name in sorted(self.fit_options or o)} | self.facts() | self.data_key()
        net = learn(training, examples, context, name="unet", batch=o["train_batch"], key=key, p_uncond=o["p_uncond"])
        self.stopped = training.stopped
        return net

    def data_key(self) -> dict[str, Any]:
        """What the examples depend on beyond the training images."""
        return {"flip": self.flip, "shape": list(self.shape)}

    def predict(self, x: Tensor, at: Tensor, labels: Tensor, cfg: float) -> Tensor:
        """The network's output (B, ...) at noise conditions `at` (B,): u + cfg (c - u); Ho and Salimans 2022."""
        with self.autocast():
            if cfg == 1:
                return self.net(x, at, class_labels=labels).sample.float()
            both = torch.cat([labels, torch.full_like(labels, self.num_classes)])
            given, free = self.net(x.repeat(2, 1, 1, 1), at.repeat(2), class_labels=both).sample.float().chunk(2)
        return free + cfg * (given - free)

    def decode(self, x: Tensor) -> Tensor:
        """What the network makes (B, c, h, w) -> images in [-1, 1]."""
        return x

    def image_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the images."""
        return self.shape

    def noise(self, streams: Streams, rows: np.ndarray, attempt: int) -> Callable[[int], Tensor]:
        """Noise of the images in these rows as `reverse` takes it: the same whatever else is drawn with them."""
        return lambda i: streams.normal(rows, self.shape, attempt, i).to(self.device)

    def make(self, noise: Callable[[int], Tensor], labels: Tensor) -> Tensor:
        """Images (B, c, h, w) in [-1, 1] of these classes."""
        return self.decode(self.reverse(noise, labels))

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.draw(counts, rng, self.make)

    def draw(self, counts: np.ndarray, rng: np.random.Generator, make: Make) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels as `sample` gives them, made by `make`."""
        counts = asked_counts(counts, self.num_classes)
        seed = int(rng.integers(2**63))
        labels = rng.permutation(wanted_labels(counts))
        streams = Streams(seed, labels)

        def run(rows: np.ndarray, attempt: int) -> Tensor:
            return make(self.noise(streams, rows, attempt), torch.as_tensor(labels[rows]).to(self.device))

        hint = f"at generator.cfg={self.options['cfg']:g}; fit longer (generator.train_steps)"
        batch = at_once(self.options["sample_batch"], self.shape, self.device)
        images, redrawn = draw_images(len(labels), self.image_shape(), run, batch=batch, hint=hint)
        saturated = float(np.isin(images, (0, 255)).mean()) if len(images) else 0.0
        self._notes = {"saturated": saturated, "dropped": float(redrawn)}
        if self.stopped >= 0:
            self._notes["stopped_at"] = float(self.stopped)
        return images, labels

    def notes(self) -> dict[str, float]:
        """saturated: share of pixels at 0 or 255; dropped: images drawn again; stopped_at: where the fit diverged."""
        return getattr(self, "_notes", {})

    def save(self, folder: str | Path) -> None:
        """Write the fitted network, what it predicts and what it was trained on where `unet_path` can load it.

        UserError for a model of latents, whose network alone is not enough.
        """
        if self.shape != self.image_shape():
            raise UserError("a model of latents is not its network alone, so it cannot be saved for unet_path")
        save_unet(self.net, folder, train_ids=self.train_ids, **self.manifest(), **self.facts())

    def manifest(self) -> dict[str, Any]:
        """What is kept beside saved weights in addition to `facts`, and may differ in a run that loads them."""
        return {"p_uncond": self.p_uncond}

    def _load(self, path: str, context: Context) -> Any:
        manifest = check_manifest(path, train_ids=self.train_ids, val_ids=context.val.ids, **self.facts())
        self.p_uncond = manifest.get("p_uncond", self.p_uncond)
        check_cfg(self.options["cfg"], self.p_uncond)
        self.adopt(manifest)
        return load_unet(path, size=self.shape[1], channels=self.shape[0], num_classes=self.num_classes + 1)

    def adopt(self, manifest: dict[str, Any]) -> None:
        """Take over from the manifest of a loaded network what was measured when it was trained."""
