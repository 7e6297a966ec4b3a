"""The generator `mgdm`: images of a class-conditional diffusion model, made uncertain for a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import Context, Generator, Guide, ImageTable
from ltbench.options import choice, number, whole, wholes
from ltbench_diffusion.ddpm import DDPM
from ltbench_diffusion.examples import learn
from ltbench_diffusion.measurements import MEASURES, ascent, guided, uncertainty
from ltbench_diffusion.noisy_classifier import NoisyClassifier, noisy_cross_entropy
from ltbench_diffusion.samplers import bridge_timesteps, ddim, invert, levels
from ltbench_diffusion.training import DiffusionTraining
from ltbench_diffusion.unet import fit_shape

CLASSIFIER = frozenset({f"classifier_{part}" for part in ("widths", "dropout", "steps", "batch", "lr")})


class MGDM(Generator):
    """Measurement guidance (Luo et al. 2024): an image of `base` is inverted by DDIM and decoded under guidance.

    base: a `ddpm` (or `ldm`) generator, which draws the first image; guidance by its cfg stays out of the bridge.
    measure: "entropy", "margin", "least-confidence" (towards uncertainty) or "classifier" (towards the label), of a
    classifier trained on noisy images; scale of its gradient, 0 decodes without guidance; bridge_steps of DDIM each
    way. classifier_widths, _dropout, _steps, _batch, _lr: the classifier and its fit. Raises UserError for values out
    of range and a base that offers no DDIM.
    """

    version = 1
    conditional = True
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"classifier_widths": [16, 32, 32], "classifier_steps": 300, "classifier_batch": 64},
        "base": {
            "classifier_widths": [64, 128, 128, 256],
            "classifier_dropout": 0.1,
            "classifier_steps": 3000,
            "classifier_batch": 256,
            "classifier_lr": 3e-4,
        },
        "paper": {
            "classifier_widths": [128, 128, 256, 256, 512],
            "classifier_dropout": 0.4,
            "classifier_steps": 200_000,
            "classifier_batch": 128,
            "classifier_lr": 3e-4,
            "bridge_steps": 250,
        },
    }
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {
        "base": {"name": "ddpm", "widths": [8, 8], "attention": 0, "train_steps": 3, "train_batch": 8, "steps": 2},
        "classifier_widths": [8],
        "classifier_steps": 2,
        "classifier_batch": 8,
        "bridge_steps": 3,
    }
    fit_options: ClassVar[frozenset[str] | None] = CLASSIFIER

    def __init__(
        self,
        *,
        base: str | Mapping[str, Any] = "ddpm",
        measure: str = "entropy",
        scale: float = 1.0,
        bridge_steps: int = 50,
        classifier_widths: Sequence[int] = (16, 32, 32),
        classifier_dropout: float = 0.0,
        classifier_steps: int = 300,
        classifier_batch: int = 64,
        classifier_lr: float = 2e-3,
    ) -> None:
        if not isinstance(ltbench.build("generator", base), DDPM):
            raise UserError(f"mgdm needs a base with DDIM, such as ddpm or ldm, got {base!r}")
        choice("generator.measure", measure, MEASURES)
        number("generator.scale", scale, example=3)
        whole("generator.bridge_steps", bridge_steps, 2, 999, example=50)
        wholes("generator.classifier_widths", classifier_widths, example="[16,32]")
        number("generator.classifier_dropout", classifier_dropout, high=1)
        whole("generator.classifier_steps", classifier_steps, 1)
        whole("generator.classifier_batch", classifier_batch, 1)
        number("generator.classifier_lr", classifier_lr, ends="()", example=1e-3)
        self.spec, self.measure, self.scale, self.bridge_steps = base, measure, float(scale), bridge_steps
        self.widths, self.dropout = [int(w) for w in classifier_widths], classifier_dropout
        self.steps, self.batch, self.lr = classifier_steps, classifier_batch, classifier_lr

    def fit(self, table: ImageTable, context: Context) -> None:
        base: Any = context.fit_generator(self.spec)
        self.base: DDPM = base
        ts = bridge_timesteps(base.abar, self.bridge_steps)
        self.ts, self.at = ts, levels(base.abar, ts)[:-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng("classifier-start").integers(2**63)))
            widths = fit_shape(base.shape[1], base.shape[1], self.widths)[1]
            net = NoisyClassifier(base.shape[0], base.num_classes, widths, dropout=self.dropout)
        training = DiffusionTraining(
            net.to(context.device).train(),
            noisy_cross_entropy(base.abar),
            lr=self.lr,
            ema=0.99,
            total=self.steps,
            warmup=self.steps // 20,
            what="the noise-aware classifier's loss",
            rate="generator.classifier_lr",
        )
        own = {"widths": self.widths, "dropout": self.dropout, "batch": self.batch, "lr": self.lr}
        key = {**base.facts(), **base.data_key(), "label_power": base.options["label_power"], "classifier": own}
        self.classifier = learn(training, base.learned, context, name="classifier", batch=self.batch, key=key)

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        self._seen: list[np.ndarray] = []
        drawn = self.base.draw(counts, rng, self._make)
        seen = np.concatenate([np.zeros((0, 3)), *self._seen])
        self._notes = self.base.notes()
        if len(seen):
            names = ("entropy_before", "entropy_after", "label_kept")
            self._notes = {**self._notes, **dict(zip(names, seen.mean(0).tolist(), strict=True))}
        return drawn

    def _make(self, noise: Callable[[int], Tensor], labels: Tensor) -> Tensor:
        first = self.base.reverse(noise, labels)
        second = self.disturbed(first, labels)
        with torch.no_grad():
            before, after = (self._logits(x, 0) for x in (first, second))
        kept = (after.argmax(1) == labels).double()
        entropies = [uncertainty(logits, labels, "entropy").double() for logits in (before, after)]
        self._seen.append(torch.stack([*entropies, kept], 1).cpu().numpy())
        return self.base.decode(second)

    def disturbed(self, x: Tensor, labels: Tensor) -> Tensor:
        """x (B, c, h, w) inverted with its labels and decoded again under guidance; unclamped."""
        plain = self.base.denoiser(labels, cfg=1.0, clip=False)

        def steered(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            x0, eps = plain(x, t)
            g = ascent(lambda point: self._logits(point, t), x, labels, self.measure)
            return guided(x0, eps, float(self.base.abar[t]), self.scale, g)

        model = steered if self.scale else plain
        return ddim(model, invert(plain, x, self.ts, self.at), self.ts[:-1], self.at)

    def _logits(self, x: Tensor, t: int) -> Tensor:
        return self.classifier(x.float(), torch.full((len(x),), t, device=x.device))

    def notes(self) -> dict[str, float]:
        """Those of the base; by the noise-aware classifier: mean entropy before and after the bridge, labels kept."""
        return getattr(self, "_notes", {})
