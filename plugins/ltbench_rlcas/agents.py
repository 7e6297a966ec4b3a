"""The agents of RL-CAS: one policy a class, which moves its number of synthetic images a batch; REINFORCE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ALIKE = 1e-8  # rewards that differ by less teach nothing


def rewards_of(scores: Sequence[float], *, shift: float = 0.04, power: int = 3) -> np.ndarray:
    """(score + shift)^power, float64 (K,); 0 for a diverged candidate, whose score is nan."""
    values = np.asarray(scores, dtype=np.float64)
    return np.where(np.isnan(values), 0.0, (values + shift) ** power)


def next_baseline(before: float, rewards: np.ndarray, gamma: float) -> float:
    """B = (1 - gamma) B_before + gamma mean(R), as printed: gamma weighs the new rewards (K,); 0 before the first."""
    return (1 - gamma) * before + gamma * float(np.mean(rewards))


def policy_loss(log_probs: Tensor, actions: Tensor, advantages: Tensor) -> Tensor:
    """-(1/K) sum_j advantage_j sum_i log p_i(a_ji), a scalar to minimise (REINFORCE; Williams 1992).

    log_probs (C, 3), actions int64 (K, C), advantages (K,), taken as constants.
    """
    picked = log_probs.T.gather(0, actions).sum(1)
    return -(advantages.detach() * picked).mean()


def moved(state: np.ndarray, actions: np.ndarray, *, move: int, low: int, high: int, cap: int) -> np.ndarray:
    """The states int64 (K, C) after actions 0, 1, 2 = -move, 0, +move (K, C), clipped to low..high.

    A state whose sum is above cap raises no class; a sampled action that the bounds undo still counts as sampled.
    """
    wanted = np.clip(state + move * (actions - 1), low, high)
    return np.where(wanted.sum(1, keepdims=True) > cap, np.minimum(wanted, state), wanted)


class Policies(nn.Module):
    """C networks C -> hidden -> 3 with ReLU, uniform at the start because their last layers are zero.

    hidden 0: three free logits each, which see nothing; with Adam at 1e-3 they hardly move in 30 updates.
    """

    def __init__(self, classes: int, hidden: int) -> None:
        super().__init__()
        bound = classes**-0.5  # as torch starts a linear layer
        self.weight = nn.Parameter(torch.empty(classes, hidden, classes, dtype=torch.float64).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(classes, hidden, dtype=torch.float64).uniform_(-bound, bound))
        self.last_weight = nn.Parameter(torch.zeros(classes, 3, hidden, dtype=torch.float64))
        self.last_bias = nn.Parameter(torch.zeros(classes, 3, dtype=torch.float64))

    def forward(self, state: Tensor) -> Tensor:
        """Logits (C, 3) at a state (C,)."""
        seen = torch.relu(self.weight @ state + self.bias)
        return (self.last_weight @ seen[:, :, None])[:, :, 0] + self.last_bias


class Agents:
    """One policy a class, in float64, over the actions -move, 0, +move, each seeing the whole state divided by `scale`.

    Updated by one Adam step an epoch on `policy_loss`, unless the rewards are alike: the advantage they have in common
    would be blown up to a full step.
    """

    def __init__(self, classes: int, *, hidden: int, lr: float, gamma: float, scale: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.nets = Policies(classes, hidden)
        self.adam = torch.optim.Adam(self.nets.parameters(), lr=lr)
        self.gamma, self.scale, self.baseline = gamma, max(scale, 1), 0.0

    def log_probs(self, state: np.ndarray) -> Tensor:
        """log p of the three actions of each agent, (C, 3), at a state (C,)."""
        seen = torch.as_tensor(np.asarray(state, dtype=np.float64) / self.scale)
        return torch.log_softmax(self.nets(seen), 1)

    def probs(self, state: np.ndarray) -> np.ndarray:
        """p of the three actions of each agent, float64 (C, 3)."""
        return self.log_probs(state).detach().exp().numpy()

    def learn(self, state: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> bool:
        """One update from K joint actions (K, C) at a state (C,) and their rewards (K,); False where it was skipped."""
        self.baseline = next_baseline(self.baseline, rewards, self.gamma)
        advantages = rewards - self.baseline
        contrast = np.ptp(rewards) if len(rewards) > 1 else abs(float(advantages[0]))
        if contrast < ALIKE:
            return False
        self.adam.zero_grad()
        chosen = torch.as_tensor(np.asarray(actions, dtype=np.int64))
        policy_loss(self.log_probs(state), chosen, torch.as_tensor(advantages)).backward()
        self.adam.step()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimiser and baseline."""
        return {"nets": self.nets.state_dict(), "adam": self.adam.state_dict(), "baseline": self.baseline}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.nets.load_state_dict(state["nets"])
        self.adam.load_state_dict(state["adam"])
        self.baseline = float(state["baseline"])


def sampled(probs: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k independent joint actions int64 (k, C) from probs (C, 3)."""
    edges = probs.cumsum(1)[:, :2]
    return (rng.random((k, len(probs), 1)) >= edges).sum(2)
