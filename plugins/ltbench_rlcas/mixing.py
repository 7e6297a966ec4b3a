"""Batches with a fixed real part and synthetic images appended: composition per class, or from the whole pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import UserError
from ltbench.interfaces import EpochPlan, EpochView, Feedback, Sampler, WrappingSampler
from ltbench.options import whole


def cycled(members: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n of members (m,) int64 without replacement, shuffled anew when all were drawn; fewer are a prefix of more."""
    rounds = -(-n // max(len(members), 1))
    return np.concatenate([members[:0], *(rng.permutation(members) for _ in range(rounds))])[:n]


def real_view(view: EpochView) -> EpochView:
    """The real rows of a view alone; their numbers stay the same, since they come first."""
    labels = view.labels[~view.synthetic]
    return replace(view, labels=labels, synthetic=np.zeros(len(labels), dtype=bool))


def pools(view: EpochView) -> list[np.ndarray]:
    """The synthetic rows of each class."""
    return [np.flatnonzero(view.synthetic & (view.labels == k)) for k in range(view.num_classes)]


def by_class(members: Sequence[np.ndarray], counts: np.ndarray, batches: int, seed: int) -> np.ndarray:
    """Rows (batches, sum of counts) with counts[k] of class k in each; a class's order depends on the seed alone."""
    parts = [
        cycled(rows, int(n) * batches, np.random.default_rng([seed, k])).reshape(batches, int(n))
        for k, (rows, n) in enumerate(zip(members, counts, strict=True))
    ]
    return np.concatenate(parts, axis=1)


def append(plan: EpochPlan, extra: np.ndarray) -> EpochPlan:
    """The plan with row i of extra (B, m) behind its i-th batch."""
    parts = np.split(plan.rows, np.cumsum(plan.sizes)[:-1])
    rows = np.concatenate([np.concatenate([part, more]) for part, more in zip(parts, extra, strict=True)])
    return EpochPlan(rows=rows.astype(np.int64), sizes=(plan.sizes + extra.shape[1]).astype(np.int64))


def real_plan(base: Sampler, view: EpochView, feedback: Feedback, passes: int, rng: np.random.Generator) -> EpochPlan:
    """`passes` epochs of the base over the real rows, one after the other; UserError where it offers several plans."""
    found = []
    for _ in range(passes):
        plans = base.plan(real_view(view), feedback, rng)
        if len(plans) != 1:
            raise UserError(
                f"sampler.base must plan one epoch at a time, {type(base).__name__} offers {len(plans)} plans; "
                "for example --set sampler.base=instance"
            )
        found += plans
    return EpochPlan(np.concatenate([plan.rows for plan in found]), np.concatenate([plan.sizes for plan in found]))


class MixedBatches(WrappingSampler):
    """Each batch is one of the base's over the real images and `per_class` times C images of the whole pool.

    The pool is shuffled and cycled without regard to class, so its composition decides; an empty pool adds nothing.
    It fills no pool itself: it is a base for samplers that do, such as freemask.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"per_class": ("int", 1, 4)}

    def __init__(self, *, per_class: int = 2, base: str | Mapping[str, Any] | Sampler = "instance") -> None:
        super().__init__(base=base)
        self.per_class = whole("sampler.per_class", per_class, example=2)

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        plan = real_plan(self.base, view, feedback, 1, rng)
        pool, batches = np.flatnonzero(view.synthetic), len(plan.sizes)
        each = self.per_class * view.num_classes if len(pool) else 0
        return [append(plan, cycled(pool, each * batches, rng).reshape(batches, each))]
