"""The sampler `rl-cas`: agents choose how many synthetic images of each class join every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ltbench.errors import DataError, UserError
from ltbench.interfaces import EpochPlan, EpochView, Feedback, Sampler, WrappingSampler
from ltbench.options import choice, number, whole
from ltbench_rlcas.agents import Agents, moved, rewards_of, sampled
from ltbench_rlcas.mixing import append, by_class, pools, real_plan

MOST = 2000  # images a class in a pool whose size follows the data
CAP = 4  # synthetic images of a batch, in real ones


class RLCAS(WrappingSampler):
    """Reinforcement-learned class-adaptive sampling (MICCAI 2025, Breast-LT-GenAug, section 2.3).

    An epoch draws k joint moves of the state s (C,), synthetic images per class and batch; each becomes a candidate
    that appends s_c images of class c to every real batch, and the agents learn from the candidates' validation scores
    by REINFORCE. The state follows the kept candidate. k: candidates. pool: images per class, made once (None: the
    largest real count, at most 2,000). start, low, high, move: the state, its bounds and its steps; a batch holds at
    most 4 times as many synthetic as real images. agents: "learned", "uniform" (random moves) or "fixed" (s stays).
    hidden: width of the policies (0: free logits). lr: of their Adam. gamma, reward_shift, reward_power: of baseline
    and reward. order: "shared" (candidates show images in one order) or "independent". passes: of the real images in an
    epoch. base: the sampler of the real rows. Raises UserError for values out of range and fewer than two classes,
    DataError where a class has no validation image or no synthetic one.
    """

    SEARCH: ClassVar[Mapping[str, Any]] = {"start": ("int", 0, 4), "lr": ("log", 1e-4, 1e-2)}
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"pool": 200, "high": 8}, "base": {}, "paper": {}}
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {"pool": 4}

    def __init__(
        self,
        *,
        k: int = 3,
        pool: int | None = None,
        start: int = 2,
        low: int = 0,
        high: int = 16,
        move: int = 2,
        agents: str = "learned",
        hidden: int = 64,
        lr: float = 1e-3,
        gamma: float = 0.99,
        reward_shift: float = 0.04,
        reward_power: int = 3,
        order: str = "shared",
        passes: int = 1,
        base: str | Mapping[str, Any] | Sampler = "instance",
    ) -> None:
        self.k, self.passes = whole("sampler.k", k, 1, example=3), whole("sampler.passes", passes, 1)
        self.size = None if pool is None else whole("sampler.pool", pool, 1, example=200)
        self.low, self.high = whole("sampler.low", low), whole("sampler.high", high, low, example=16)
        self.start, self.move = whole("sampler.start", start), whole("sampler.move", move, 1, example=2)
        if not low <= start <= high:
            raise UserError(
                f"sampler.start must lie within the bounds low={low} and high={high}, got {start}; "
                f"for example --set sampler.start={min(max(start, low), high)}"
            )
        self.agents_kind = choice("sampler.agents", agents, ("learned", "uniform", "fixed"))
        self.hidden, self.lr = whole("sampler.hidden", hidden), number("sampler.lr", lr, ends="()", example=1e-3)
        self.gamma = number("sampler.gamma", gamma, high=1, ends="(]", example=0.99)
        self.shift = number("sampler.reward_shift", reward_shift, example=0.04)
        self.power = whole("sampler.reward_power", reward_power, 1, example=3)
        self.order = choice("sampler.order", order, ("shared", "independent"))
        if k > 1 and agents == "fixed" and order == "shared":
            raise UserError(
                f"sampler.k={k} candidates of a fixed mix in a shared order are one and the same; "
                "--set sampler.k=1, or --set sampler.order=independent"
            )
        super().__init__(base=base)
        self.agents: Agents | None = None
        self._notes: dict[str, Any] = {}

    def setup(self, *, class_counts: np.ndarray, total_epochs: int) -> None:
        classes = len(class_counts)
        if classes < 2:
            raise UserError(f"rl-cas needs at least 2 classes to choose among, got {classes}; use another data set")
        self.state = np.full(classes, self.start, dtype=np.int64)
        super().setup(class_counts=class_counts, total_epochs=total_epochs)

    def synthetic_counts(self, feedback: Feedback) -> np.ndarray | None:
        if self.k > 1 or self.agents_kind == "learned":
            _check_rewards(np.asarray(feedback["val_counts"]))
        if np.sum(feedback["pool_counts"]) > 0:
            return None
        size = min(int(self.class_counts.max()), MOST) if self.size is None else self.size
        return np.where((self.class_counts > 0) & (self.high > 0), size, 0)

    def plan(self, view: EpochView, feedback: Feedback, rng: np.random.Generator) -> list[EpochPlan]:
        cap = CAP * view.batch_size
        if self.state.sum() > cap:
            bound = f" --set sampler.low={cap // view.num_classes}" if self.low > cap // view.num_classes else ""
            raise UserError(
                f"{self.state.sum()} synthetic images a batch of {view.batch_size} real ones are more than {CAP} times "
                f"as many; lower the start: --set sampler.start={cap // view.num_classes}{bound}"
            )
        self.probs = self._probs(view.num_classes, rng)
        self.actions = sampled(self.probs, self.k, rng)
        bounds = {"low": self.low, "high": self.high, "cap": cap}
        self.proposed = moved(self.state, self.actions, move=self.move, **bounds)
        members = pools(view)
        for c in np.flatnonzero(self.proposed.any(0)):
            if not len(members[c]):
                raise DataError(
                    f"class {c} has no synthetic image, and the agents ask for {self.proposed[:, c].max()} a batch; "
                    "use a generator that makes images of every class: --set generator=real-copies"
                )
        seeds = rng.integers(2**63, size=self.k)
        if self.order == "shared":
            seeds[:] = seeds[0]
        real = {int(s): real_plan(self.base, view, feedback, self.passes, np.random.default_rng(s)) for s in set(seeds)}
        candidates = [(real[int(seed)], state, int(seed)) for seed, state in zip(seeds, self.proposed, strict=True)]
        return [append(plan, by_class(members, state, len(plan.sizes), seed)) for plan, state, seed in candidates]

    def _probs(self, classes: int, rng: np.random.Generator) -> np.ndarray:
        """Of the three actions of each class, float64 (C, 3); starts the agents at their first call."""
        if self.agents_kind != "learned":
            return np.tile([1 / 3, 1 / 3, 1 / 3] if self.agents_kind == "uniform" else [0.0, 1.0, 0.0], (classes, 1))
        if self.agents is None:
            self.agents = self._new_agents(int(rng.integers(2**63)))
        return self.agents.probs(self.state)

    def _new_agents(self, seed: int) -> Agents:
        classes = len(self.state)
        return Agents(classes, hidden=self.hidden, lr=self.lr, gamma=self.gamma, scale=self.high, seed=seed)

    def observe(self, scores: Sequence[float], best: int) -> None:
        """The state follows the kept candidate; the agents learn nothing from an epoch that was not validated."""
        rewards = rewards_of(scores, shift=self.shift, power=self.power)
        self._notes = {
            "state": self.proposed[best].tolist(),
            "probs": np.round(self.probs, 6).tolist(),
            "moves": (self.move * (self.actions - 1)).tolist(),
            "duplicates": len(self.proposed) - len(np.unique(self.proposed, axis=0)),
        }
        validated = not np.isnan(scores).all()
        if validated:
            self._notes["rewards"] = rewards.tolist()
        if self.agents is not None:
            learned = validated and self.agents.learn(self.state, self.actions, rewards)
            self._notes |= {"baseline": self.agents.baseline, "learned": int(learned)}
        self.state = self.proposed[best].copy()
        super().observe(scores, best)

    def notes(self) -> dict[str, Any]:
        """state (C,) kept for the next epoch; probs (C, 3) that drew the moves (K, C); rewards (K,) where
        validated; how many of the candidates were duplicates; baseline, and whether the agents learned."""
        return {**super().notes(), **self._notes}

    def state_dict(self) -> dict[str, Any]:
        agents = None if self.agents is None else self.agents.state_dict()
        return {**super().state_dict(), "state": self.state, "agents": agents}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = np.asarray(state["state"], dtype=np.int64)
        if state["agents"] is not None:
            self.agents = self._new_agents(0)
            self.agents.load_state_dict(state["agents"])
        super().load_state_dict(state)


def _check_rewards(val_counts: np.ndarray) -> None:
    way_out = "use another protocol.split_seed, or a fixed mix: --set sampler.agents=fixed --set sampler.k=1"
    if not val_counts.sum():
        raise DataError(f"rl-cas rewards validation scores, and there is no validation part; {way_out}")
    for c in np.flatnonzero(val_counts == 0):
        raise DataError(
            f"class {c} has no validation image, so a reward over all classes is undefined and agents would learn to "
            f"sacrifice this one; {way_out}"
        )
