"""The generator `guided-ddpm`: a small pixel diffusion model steered by a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ltbench.errors import DataError, NonFinite
from ltbench.interfaces import Context, Generator, Guide, ImageTable
from ltbench.models.drawing import Streams, asked_counts, at_once, draw_images, wanted_labels
from ltbench.models.images import resized, to_signed
from ltbench_diffusion import options
from ltbench_diffusion.ddim import Guidance, ddim_scheduler, noise_from, sample_loop
from ltbench_diffusion.unet import (
    UNetTraining,
    build_unet,
    check_manifest,
    exact_shape,
    fit_shape,
    load_unet,
    save_unet,
)


class GuidedDDPM(Generator):
    """DDIM samples of an (un)conditional U-Net, guided by log p(class | image); Li et al. 2024, equations 1 to 4.

    Of the fit: conditioning "none" or "class"; size in px (None: the image's side, at most max_size); widths, blocks
    and attention (largest map in px with self-attention) of the U-Net; prediction, what it predicts ("epsilon",
    "v_prediction" or "auto", by size); train_steps, train_batch, lr, ema; unet_path, a trained U-Net. Of sampling:
    guide "current" (the classifier in training), "reference" (one trained beforehand) or "none"; scale, guidance_input,
    guidance_form, clamp_guided_x0, guidance_start and guidance_stop as in `ddim.Guidance`; steps, eta; sample_batch
    (fewer on a CPU). Raises UserError for values out of range.
    """

    version = 2
    TIERS = options.TIERS
    fit_options: ClassVar[frozenset[str] | None] = frozenset(options.FIT)

    def __init__(
        self,
        *,
        conditioning: str = "none",
        size: int | None = None,
        max_size: int = 32,
        widths: Sequence[int] = (16, 32, 32),
        blocks: int = 1,
        attention: int = 8,
        prediction: str = "epsilon",
        train_steps: int = 1500,
        train_batch: int = 64,
        lr: float = 1e-3,
        ema: float = 0.99,
        unet_path: str | None = None,
        guide: str = "current",
        scale: float = 1.0,
        guidance_input: str = "x0_pred",
        guidance_form: str = "adm",
        clamp_guided_x0: bool = False,
        guidance_start: float = 0.0,
        guidance_stop: float = 1.0,
        steps: int = 20,
        eta: float = 0.0,
        sample_batch: int = 256,
    ) -> None:
        values = {name: value for name, value in locals().items() if name != "self"}
        options.check(values)
        self.options = {**values, "widths": [int(w) for w in widths]}
        self.guide, self.steps, self.eta, self.sample_batch = guide, steps, eta, sample_batch
        self.guidance = Guidance(scale, guidance_input, guidance_form, clamp_guided_x0, guidance_start, guidance_stop)
        self.conditional = conditioning == "class"
        self.guided = guide != "none" and scale != 0
        self._notes: dict[str, float] = {}

    def fit(self, table: ImageTable, context: Context) -> None:
        o = self.options
        self.num_classes, self.device, self.autocast = context.task.num_classes, context.device, context.autocast
        self.class_names = context.task.class_names
        size, widths = fit_shape(max(table.images.shape[1:3]), o["max_size"], o["widths"])
        if o["size"]:
            size, widths = exact_shape(o["size"], o["widths"])
        self.shape = (table.images.shape[3], size, size)
        self.prediction = options.prediction(o["prediction"], size)
        self.reference = context.reference("guide") if self.guide == "reference" and self.guidance.scale else None
        classes = self.num_classes if self.conditional else None
        self.train_ids, self.stopped = table.ids, -1
        self.absent = np.flatnonzero(context.task.class_counts == 0)
        if o["unet_path"]:
            check_manifest(o["unet_path"], prediction=self.prediction, train_ids=table.ids, val_ids=context.val.ids)
            unet = load_unet(o["unet_path"], size=size, channels=self.shape[0], num_classes=classes)
            self.unet = unet.to(self.device).eval().requires_grad_(False)
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng("unet-start").integers(2**63)))
            unet = build_unet(
                size=size,
                channels=self.shape[0],
                widths=widths,
                blocks=o["blocks"],
                attention=o["attention"],
                num_classes=classes,
            )
        self.unet = self._train(unet.to(self.device), table, context)

    def _train(self, unet: Any, table: ImageTable, context: Context) -> Any:
        o, total = self.options, self.options["train_steps"]
        training = UNetTraining(unet, lr=o["lr"], ema=o["ema"], total=total, prediction=self.prediction)
        images = resized(table.images, self.shape[1:]).to(self.device)
        labels = torch.as_tensor(table.labels).to(self.device)
        for step in context.steps("unet", total, training, options={name: o[name] for name in options.FIT}):
            if training.good.stopped >= 0:
                continue
            rows = torch.randint(0, len(images), (o["train_batch"],), device=self.device)
            loss = training.step(
                to_signed(images[rows]), labels[rows] if self.conditional else None, step, self.autocast()
            )
            training.good.look(loss, step)
        training.good.say()
        self.stopped = training.good.stopped
        return training.finish()

    def save(self, folder: str | Path) -> None:
        """Write the fitted U-Net and what it was trained on where `unet_path` can load it."""
        save_unet(self.unet, folder, prediction=self.prediction, train_ids=self.train_ids)

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        counts = asked_counts(counts, self.num_classes)
        for k in self.absent[counts[self.absent] > 0]:
            raise DataError(
                f"class {self.class_names[k]!r} has no training image, so neither network nor guide knows it; "
                "ask for none of it, choose another split, or drop the class"
            )
        judge = self._judge(guide)
        labels = rng.permutation(wanted_labels(counts))
        seed = int(rng.integers(2**63))
        start = torch.randn(len(labels), *self.shape, generator=torch.Generator().manual_seed(seed))
        streams = Streams(seed, labels)  # redraws and steps with eta > 0 depend on the image alone, not on its batch
        zeroed = np.zeros(len(labels), dtype=np.int64)

        def reverse(rows: np.ndarray, attempt: int) -> Tensor:
            first = streams.normal(rows, self.shape, attempt, 0) if attempt else start[rows]
            noise = lambda i: streams.normal(rows, self.shape, attempt, i + 1).to(self.device)  # noqa: E731
            x, missed = self._reverse(first, labels[rows], judge, noise)
            zeroed[rows] += missed.cpu().numpy()
            return x

        hint = f"at generator.scale={self.guidance.scale}; lower it, or fit longer (generator.train_steps)"
        batch = at_once(self.sample_batch, self.shape, self.device)
        try:
            images, dropped = draw_images(len(labels), self.shape, reverse, batch=batch, hint=hint)
        finally:
            self._check_zeroed(zeroed, labels)  # the better explanation where both apply
        saturated = float(np.isin(images, (0, 255)).mean()) if len(images) else 0.0
        self._notes = {"saturated": saturated, "dropped": float(dropped), "zeroed": float(zeroed.sum())}
        if self.stopped >= 0:
            self._notes["stopped_at"] = float(self.stopped)
        return images, labels

    def _judge(self, guide: Guide | None) -> Guide | None:
        """What steers the samples; None draws the unguided control."""
        if guide is None or not self.guided:
            return None
        return guide if self.guide == "current" else self.reference

    def _reverse(
        self, start: Tensor, labels: np.ndarray, judge: Guide | None, noise: Callable[[int], Tensor]
    ) -> tuple[Tensor, Tensor]:
        wanted = torch.as_tensor(labels).to(self.device)
        abars = ddim_scheduler().alphas_cumprod

        def model(x: Tensor, t: int) -> Tensor:
            with self.autocast():
                output = self.unet(x, t, class_labels=wanted if self.conditional else None).sample.float()
            return noise_from(output, x, float(abars[t]), self.prediction)

        return sample_loop(
            model,
            start.to(self.device),
            steps=self.steps,
            eta=self.eta,
            guidance=self.guidance,
            log_prob=None if judge is None else lambda x, t: judge.log_prob(x, wanted),
            noise=noise,
        )

    def _check_zeroed(self, zeroed: np.ndarray, labels: np.ndarray) -> None:
        guided = sum(self.guidance.active(i, self.steps) for i in range(self.steps))
        if zeroed.sum() > 0.01 * len(labels) * guided:
            worst = int(np.argmax(np.bincount(labels, weights=zeroed, minlength=self.num_classes)))
            raise NonFinite(
                f"the guide's gradient was not finite in {int(zeroed.sum())} of {len(labels) * guided} (image, step) "
                f"pairs, most of class {self.class_names[worst]!r}, at generator.scale={self.guidance.scale}; "
                "lower the scale or run the guide in float32"
            )

    def notes(self) -> dict[str, float]:
        """saturated: share of pixels at 0 or 255; dropped: images drawn again; zeroed: (image, step) pairs unguided.

        stopped_at: the step at which the fit diverged.
        """
        return self._notes
