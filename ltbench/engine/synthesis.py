"""The synthetic side of a cell: its generator, fitted on first use, and the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltbench.engine.checkpoint import state_digest
from ltbench.engine.context import CellContext
from ltbench.engine.guide import ClassifierGuide, frozen
from ltbench.engine.pool import Pool
from ltbench.errors import ContractError, UserError


class Synthesis:
    """Fills the pool when a sampler asks; the classifier guides, in eval mode and with frozen weights."""

    def __init__(self, classifier: Any, context: CellContext) -> None:
        self.classifier, self.context = classifier, context
        self.generator = context.component("generator") if context.recipe["generator"] else None
        self.fitted = False
        self.pool = Pool.empty(context.task.image_shape[2])

    def counts(self) -> np.ndarray:
        """Synthetic images per class, int64 (C,)."""
        return self.pool.counts(self.context.task.num_classes)

    def fill(self, counts: np.ndarray) -> None:
        """Replace the pool by exactly counts[k] images of each class k."""
        context, channels = self.context, self.context.task.image_shape[2]
        if counts.shape != (context.task.num_classes,) or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ContractError(f"synthetic_counts must be whole numbers >= 0, one a class, got {counts.tolist()}")
        if counts.sum() == 0:
            self.pool = Pool.empty(channels)
            return
        if self.generator is None:
            raise UserError(
                f"the sampler asks for {counts.sum()} synthetic images but there is no generator; "
                "add one: --set generator=NAME (ltbench list generator)"
            )
        name = context.recipe["generator"]["name"]
        self._fit()
        guide = ClassifierGuide(self.classifier.logits, context.task.image_shape, self.generator.value_range)
        with frozen(self.classifier):
            images, labels = self.generator.sample(counts, guide=guide, rng=context.rng("generate"))
        notes = {f"generator_{key}": value for key, value in self.generator.notes().items()}
        provenance = {"generator": name, "generated_at": f"{context.stage}:{context.epoch}", **self._origin(), **notes}
        self.pool = Pool(images, labels, provenance).check(counts, channels, name, self.generator.exact)

    def control(self, counts: np.ndarray) -> Pool | None:
        """The unguided control: the same counts drawn without a guide; None where nothing guides."""
        if self.generator is None or not self.generator.guided:
            return None
        self._fit()
        return Pool(*self.generator.sample(counts, guide=None, rng=self.context.rng("control")))

    def _origin(self) -> dict[str, str]:
        """What makes every image of a pool again: the fits, the random stream and the guiding weights."""
        context = self.context
        return {
            "fit": "+".join(f"{name}@{key[:12]}" for name, key in sorted(context.fits.items())),
            "stream": f"seed={context.seed};stage={context.stage};epoch={context.epoch};generate",
            "guide": state_digest(self.classifier.state_dict())[:12],
        }

    def _fit(self) -> None:
        if not self.fitted and self.generator is not None:
            self.context.fit(self.generator, self.context.recipe["generator"])
            self.fitted = True
