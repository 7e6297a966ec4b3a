"""FreeMask's re-sampling in its form for classification: harder classes get more of one fixed synthetic pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import UserError
from ltbench.interfaces import Feedback, Sampler
from ltbench.options import choice
from ltbench_samplers.deferred import switch_epoch
from ltbench_samplers.quota import QuotaSampler


def hardness_ranks(losses: np.ndarray) -> np.ndarray:
    """Rank 1.. of each class by loss (C,), nats, ascending, ties by index; 0 where it is nan; int64 (C,)."""
    known = np.flatnonzero(~np.isnan(losses))
    ranks = np.zeros(len(losses), dtype=np.int64)
    ranks[known[np.argsort(losses[known], kind="stable")]] = np.arange(1, len(known) + 1)
    return ranks


def by_class(ranks: np.ndarray, most: int) -> np.ndarray:
    """round(most i / C) images for the class of rank i, half to even; ranks (C,) -> float64 (C,)."""
    return np.rint(most * ranks / ranks.max())


def original(ranks: np.ndarray, most: int) -> np.ndarray:
    """min(1 + round(most i / C), most) images, half to even: the release's count of variants of an image of rank i."""
    return np.where(ranks > 0, np.minimum(1 + np.rint(most * ranks / ranks.max()), most), 0)


RULES = {"class": by_class, "original": original}
VARIANTS = 20  # of an image in the release


class FreeMask(QuotaSampler):
    """A pool filled once, its counts in proportion to the hardness rank i of the classes (after Yang et al. 2023).

    Hardness is the mean loss of a class's real training images after a share `warmup` of the epochs (at least one),
    trained on real images alone. rule: "class" makes the counts round(k_max i / C), half to even; "original", the
    release's count of the variants of an image, min(1 + round(k_max i / C), k_max). Where k_max is None, total (or
    ratio) images are shared out in proportion to the rank, or to the original rule's counts of at most 20. total,
    ratio, base, rounding: as in QuotaSampler.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"warmup": ("linear", 0.0, 0.5)}

    def __init__(
        self,
        *,
        k_max: int | None = None,
        total: int | None = None,
        ratio: float | None = None,
        warmup: float = 0.1,
        rule: str = "class",
        base: str | Mapping[str, Any] | Sampler = "instance",
        rounding: str = "largest-remainder",
    ) -> None:
        if k_max is not None and (isinstance(k_max, bool) or not isinstance(k_max, int) or k_max < 1):
            raise UserError(f"sampler.k_max must be a whole number of images >= 1, got {k_max!r}")
        if isinstance(warmup, bool) or not isinstance(warmup, (int, float)) or not 0 <= warmup < 1:
            raise UserError(f"sampler.warmup must be a share of the epochs in [0, 1), got {warmup!r}; for example 0.1")
        super().__init__(total=total if k_max is None else 0, ratio=ratio, base=base, rounding=rounding)
        self.k_max, self.warmup, self.rule = k_max, warmup, choice("sampler.rule", rule, tuple(RULES))
        self.hardness: np.ndarray | None = None  # (C,), once it is known
        self.needs = self.needs | {"train_loss"}

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        super().setup(class_counts=class_counts, total_epochs=total_epochs)
        self.start = max(1, switch_epoch(self.warmup, total_epochs))
        if self.start >= total_epochs:
            raise UserError(f"freemask trains on real images first and needs at least 2 epochs, got {total_epochs}")

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        if self.hardness is None and feedback["epoch"] >= self.start and "train_loss" in feedback:
            self.hardness = np.asarray(feedback["train_loss"], dtype=np.float64)
        due = self.hardness is None and feedback["epoch"] + 1 >= self.start
        self.needs = self.base.needs | (frozenset({"train_loss"}) if due else frozenset())
        if self.hardness is None or np.sum(feedback["pool_counts"]) > 0:
            return None
        ranks = hardness_ranks(np.where(self.class_counts > 0, self.hardness, np.nan))
        if self.k_max is None:
            return self.split(ranks if self.rule == "class" else original(ranks, VARIANTS))
        return RULES[self.rule](ranks, self.k_max).astype(np.int64)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "hardness": self.hardness}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.hardness = state["hardness"]
