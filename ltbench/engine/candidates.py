"""K candidate epochs from one snapshot, the best on validation kept; K is usually one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltbench.engine.checkpoint import copy_state
from ltbench.errors import ContractError, Diverged, NonFinite


@dataclass(frozen=True)
class Outcome:
    """The kept candidate: its log and validation probabilities (None: not due), all scores, its index.

    images: how many all candidates were trained on.
    """

    log: dict[str, Any]
    probs: np.ndarray | None
    scores: list[float]
    best: int
    images: int = 0

    @property
    def score(self) -> float:
        """Validation score of the kept candidate, nan where not due."""
        return self.scores[self.best]


def train_candidates(
    classifier: Any,
    plans: Sequence[Any],
    train: Callable[[Any], dict[str, Any]],
    validate: Callable[[], tuple[np.ndarray | None, float]],
) -> Outcome:
    """Train each plan from the same state; one that diverges scores nan, all of them raise Diverged."""
    if not plans:
        raise ContractError("the sampler returned no plan for an epoch; Sampler.plan must return at least one")
    if len(plans) == 1:
        log = train(plans[0])
        probs, score = validate()
        return Outcome(log, probs, [score], 0, log.get("images", 0))
    start = copy_state(classifier.state_dict())
    scores: list[float] = []
    kept: tuple[dict[str, Any], np.ndarray | None, Any] | None = None
    best, last, images = -1, "", 0
    for index, plan in enumerate(plans):
        classifier.load_state_dict(copy_state(start))
        try:
            log = train(plan)
            images += log.get("images", 0)
            probs, score = validate()
        except NonFinite as error:
            last = str(error)
            scores.append(float("nan"))
            continue
        scores.append(score)
        if best < 0 or score > scores[best]:
            best, kept = index, (log, probs, copy_state(classifier.state_dict()))
    if kept is None:
        raise Diverged(f"all {len(plans)} candidates of an epoch diverged, the last: {last}")
    classifier.load_state_dict(kept[2])
    return Outcome(kept[0], kept[1], scores, best, images)
