"""Reference models: classifiers trained once per split on the real training images, apart from the one under test."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import ltbench
from ltbench.data.augment import Augmenter, eval_crop
from ltbench.engine.checkpoint import copy_state
from ltbench.engine.context import CellContext
from ltbench.engine.guide import ClassifierGuide, frozen
from ltbench.engine.loader import PlanBatches, TrainStore
from ltbench.engine.streams import seed_global
from ltbench.errors import ContractError
from ltbench.interfaces import EpochView
from ltbench.metrics import macro_f1
from ltbench.models.images import resize_images
from ltbench.models.precision import full_precision

JUDGE_SEED = 1000  # added to the split's seed: the judge shares neither seed nor architecture with any guide


class _Trainee:
    """A classifier with its best epoch so far."""

    def __init__(self, classifier: Any) -> None:
        self.classifier, self.best, self.score = classifier, classifier.state_dict(), -1.0

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.classifier.state_dict(), "best": self.best, "score": self.score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.classifier.load_state_dict(state["last"])
        self.best, self.score = state["best"], state["score"]


class Reference:
    """A trained reference; see ReferenceModel."""

    def __init__(self, name: str, classifier: Any, context: CellContext, weights: str = "") -> None:
        self.name, self.classifier, self._context, self.weights = name, classifier, context, weights
        self._size = context.task.image_shape[0]
        self._exact = copy.copy(context)
        self._exact.policy = replace(context.policy, precision="float32")
        self.preprocess = f"{self._size} px antialiased bilinear, float32 without TF32"
        self._guide = ClassifierGuide(classifier.logits, context.task.image_shape, (-1.0, 1.0))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, C)."""
        return self.classifier.predict(resize_images(images, self._size), self._context)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Penultimate activations float32 (n, d), in full precision: distances are measured in them."""
        with full_precision():
            return self.classifier.features(resize_images(images, self._size), self._exact)

    def log_prob(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """log p(label | x), (n,)."""
        with frozen(self.classifier):
            return self._guide.log_prob(x, labels)


def train_reference(kind: str, context: CellContext) -> Reference:
    """Train (or load) the reference of a kind, "guide" or "judge", with the protocol's own training."""
    recipe = copy.deepcopy(dict(context.recipe))
    protocol = recipe["protocol"]
    if kind == "judge":
        protocol["backbone"], protocol["weights"] = protocol["judge"], "none"
    recipe.update(loss={"name": "ce"}, classifier={"name": "standard"})
    shared = {k: v for k, v in protocol.items() if not k.startswith("synthetic") and k not in ("tier", "judge")}
    fit = context.for_fit(f"reference-{kind}", {"protocol": shared, "versions": _versions()})
    fit.recipe = recipe
    fit.seed += JUDGE_SEED if kind == "judge" else 0
    fit.weights_path = context.weights_path if kind == "guide" else None
    seed_global(fit.seed, "reference", kind)
    classifier = ltbench.build("classifier", "standard")
    classifier.setup(fit)
    if not hasattr(classifier, "features"):
        raise ContractError("the standard classifier must offer features(images, context)")
    trainee, epochs = _Trainee(classifier), int(protocol["epochs"])
    stage = classifier.stages(epochs)[0]
    classifier.start_stage(stage, fit)
    sampler = ltbench.build("sampler", "instance")
    store, task = TrainStore(fit.train, fit.device), fit.task
    val = eval_crop(fit.val.images, task.image_shape[0])
    augmenter = Augmenter(protocol["augment"], task.image_shape[0])
    for epoch in fit.steps("epochs", epochs, trainee):
        fit.at(f"reference-{kind}", epoch)
        view = EpochView(store.labels, store.synthetic, epoch, epochs, protocol["batch_size"], task.num_classes)
        plan = sampler.plan(view, {}, fit.rng("plan"))[0].check(view)
        classifier.train_epoch(PlanBatches(store, plan, augmenter, classifier.views, fit.rng, epoch), fit)
        score = macro_f1(fit.val.labels, classifier.predict(val, fit).argmax(1), task.num_classes)
        if score > trainee.score:
            trainee.best, trainee.score = copy_state(classifier.state_dict()), score
    classifier.load_state_dict(trainee.best)
    return Reference(f"{kind}-{protocol['backbone']}", classifier, fit, fit.fits[f"reference-{kind}/epochs"])


def _versions() -> dict[str, int]:
    registry = ltbench.plugins.plugins().registry
    return {kind: registry.get(kind, name).version for kind, name in (("classifier", "standard"), ("loss", "ce"))}
