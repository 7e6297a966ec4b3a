"""The engine: runs every cell, knows no method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import ltbench
from ltbench.data.augment import Augmenter
from ltbench.engine.candidates import Outcome, train_candidates
from ltbench.engine.context import CellContext
from ltbench.engine.evaluate import Evaluator
from ltbench.engine.feedback import gather
from ltbench.engine.loader import PlanBatches, TrainStore
from ltbench.engine.progress import load, load_best, restore, save, save_best
from ltbench.engine.streams import seed_global
from ltbench.engine.synthesis import Synthesis
from ltbench.interfaces import EpochView, Sampler, Stage

EpochListener = Callable[[int, dict[str, Any]], None]


class Run:
    """One cell from its first epoch to the selected one; `listener(epoch, line)` is told of each epoch."""

    def __init__(self, context: CellContext, owner: str, listener: EpochListener) -> None:
        self.context, self.owner, self.listener = context, owner, listener
        self.protocol, self.task = context.recipe["protocol"], context.task
        self.size = self.task.image_shape[0]
        seed_global(context.seed, "setup")
        self.classifier = context.component("classifier")
        self.classifier.setup(context)
        self.sampler: Sampler = context.component("sampler")
        self.evaluator = Evaluator(self.classifier, context)
        self.synthesis = Synthesis(self.classifier, context)
        self.store = TrainStore(context.train, context.device)
        self.augmenter = Augmenter(self.protocol["augment"], self.size)
        self.selected: dict[str, Any] = {}
        self.feedback: dict[str, Any] = {"score": float("nan")}
        self.history: list[dict[str, Any]] = []

    def train(self) -> dict[str, Any]:
        """Run all stages, resuming from the checkpoint; returns what was selected, its classifier loaded."""
        stages = self.classifier.stages(self.protocol["epochs"])
        total = sum(stage.epochs for stage in stages)
        self.sampler.setup(class_counts=self.task.class_counts, total_epochs=total)
        saved = load(self)
        for index, stage in enumerate(stages):
            if saved and index < saved["stage"]:
                continue
            sampler, first = self._stage_sampler(stage), 0
            if saved and index == saved["stage"]:
                first = saved["epoch"]
                at = f"at epoch {first + 1} of {stage.epochs}" if first < stage.epochs else "after the last epoch"
                self.context.report(f"resuming {at}, stage {stage.name}")
                if first == 0:  # what the previous stage left, before start_stage builds on it
                    restore(self, saved, sampler)
            self.context.at(stage.name, 0)
            seed_global(self.context.seed, "stage", index)
            self.classifier.start_stage(stage, self.context)
            if saved and first > 0:
                restore(self, saved, sampler)
            else:
                self.selected = {}
            for epoch in range(first, stage.epochs):
                self._epoch(stage, sampler, epoch)
                save(self, index, epoch + 1, sampler)
            pool = load_best(self) if stage.select and self.selected else self.synthesis.pool
            self.context.at(stage.name, stage.epochs)
            seed_global(self.context.seed, "end", index)
            self.classifier.end_stage(stage, self.context)
            if index + 1 < len(stages):
                save(self, index + 1, 0, self.sampler)
        return {**self.selected, "pool": pool}

    def _epoch(self, stage: Stage, sampler: Sampler, epoch: int) -> None:
        context = self.context
        context.at(stage.name, epoch)
        seed_global(context.seed, context.stage, epoch, "compose")
        context.logged = {}
        feedback = {**self.feedback, "epoch": epoch, "pool_counts": self.synthesis.counts(), "val_counts": self._val()}
        counts = sampler.synthetic_counts(feedback)
        if counts is not None:
            with context.cost.of("synthesis", context.policy):
                self.synthesis.fill(np.asarray(counts))
                self.store.set_pool(self.synthesis.pool)
        labels, synthetic, batch = self.store.labels, self.store.synthetic, self.protocol["batch_size"]
        view = EpochView(labels, synthetic, epoch, stage.epochs, batch, self.task.num_classes)
        plans = [plan.check(view) for plan in sampler.plan(view, feedback, context.rng("plan"))]
        due = len(plans) > 1 or (epoch + 1) % stage.evaluate_every == 0 or epoch + 1 == stage.epochs
        outcome = train_candidates(
            self.classifier, plans, lambda plan: self._train(plan, epoch), lambda: self._validate(due)
        )
        sampler.observe(outcome.scores, outcome.best)
        if due and (not self.selected or not stage.select or outcome.score > self.selected["score"]):
            self.selected = {"stage": stage.name, "epoch": epoch, "score": outcome.score}
            if stage.select:
                save_best(self)
        self.feedback = {"score": outcome.score}
        if sampler.needs and epoch + 1 < stage.epochs:
            with context.cost.of("feedback", context.policy):
                self.feedback |= gather(self, sampler.needs, outcome)
        self._tell(stage, epoch, outcome, sampler.notes())

    def _train(self, plan: Any, epoch: int) -> dict[str, Any]:
        context = self.context
        with context.cost.of("train", context.policy):
            seed_global(context.seed, context.stage, epoch)
            batches = PlanBatches(self.store, plan, self.augmenter, self.classifier.views, context.rng, epoch)
            return self.classifier.train_epoch(batches, context)

    def _validate(self, due: bool) -> tuple[np.ndarray | None, float]:
        if not due:
            return None, float("nan")
        with self.context.cost.of("validation", self.context.policy):
            probs = self.evaluator.predict(self.context.val.images, "val")
        return probs, self.evaluator.score(probs, self.context.val.labels)

    def _val(self) -> np.ndarray:
        return np.bincount(self.context.val.labels, minlength=self.task.num_classes)

    def _tell(self, stage: Stage, epoch: int, outcome: Outcome, notes: dict[str, Any]) -> None:
        log = {key: value for key, value in outcome.log.items() if not key.startswith("class_")}
        line = {"stage": stage.name, "epoch": epoch, **log, "val_score": outcome.score, **self.context.logged}
        if len(outcome.scores) > 1:
            line |= {"candidate_scores": outcome.scores, "candidate_kept": outcome.best}
            line |= {"candidate_images": outcome.images}
        line |= {f"sampler_{key}": value for key, value in notes.items()}
        if len(self.synthesis.pool):
            line |= {"synthetic_counts": self.synthesis.counts().tolist(), **self.synthesis.pool.provenance}
        self.history.append(line)
        self.listener(epoch, line)

    def _stage_sampler(self, stage: Stage) -> Sampler:
        if stage.sampler is None:
            return self.sampler
        sampler: Sampler = ltbench.build("sampler", stage.sampler)
        sampler.setup(class_counts=self.task.class_counts, total_epochs=stage.epochs)
        return sampler
