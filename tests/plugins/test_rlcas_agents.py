"""The agents of RL-CAS: the sheet's vectors, the gradient, the bandit, and nothing learned from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ltbench_rlcas.agents import Agents, moved, next_baseline, policy_loss, rewards_of, sampled

from ltbench.engine.checkpoint import copy_state

BOUNDS: dict[str, Any] = {"move": 2, "low": 0, "high": 8, "cap": 99}


def agents(classes: int, hidden: int = 64, seed: int = 0, **options: Any) -> Agents:
    return Agents(classes, **{"hidden": hidden, "lr": 1e-3, "gamma": 0.99, "scale": 16, "seed": seed, **options})


@pytest.mark.parametrize(
    ("score", "reward"),
    [
        (0, 0.000064),
        (0.1, 0.002744),
        (0.2, 0.013824),
        (0.25, 0.024389),
        (0.3094, 0.042654878),
        (0.5, 0.157464),
        (0.7, 0.405224),
        (0.9, 0.830584),
        (0.96, 1.0),
        (1, 1.124864),
    ],
)
def test_rewards(score: float, reward: float) -> None:
    assert rewards_of([score])[0] == pytest.approx(reward, abs=5e-10)


def test_a_diverged_candidate_earns_nothing_and_the_power_is_an_option() -> None:
    assert rewards_of([float("nan"), 0.5]).tolist() == [0.0, pytest.approx(0.157464)]
    assert rewards_of([0.3, 0.5], power=1, shift=0.0).tolist() == [0.3, 0.5]


def test_baselines_and_advantages_of_three_epochs() -> None:
    baseline = 0.0
    for scores, expected, advantages in [
        ((0.30, 0.32, 0.28), 0.03918024, (0.00012376, 0.00747576, -0.00641224)),
        ((0.33, 0.35, 0.31), 0.050831312, (-0.00017831, 0.00848769, -0.00795631)),
        ((0.40, 0.38, 0.42), 0.085188953, (-0.00000495, -0.01110095, 0.01214705)),
    ]:
        rewards = rewards_of(scores)
        baseline = next_baseline(baseline, rewards, 0.99)
        assert baseline == pytest.approx(expected, abs=5e-10)
        assert rewards - baseline == pytest.approx(np.array(advantages), abs=5e-9)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.99, [0.198, 0.29898, 0.2504898, 0.398504898]),
        (0.5, [0.1, 0.2, 0.225, 0.3125]),
        (0.01, [0.002, 0.00498, 0.0074302, 0.011355898]),
    ],
)
def test_running_baselines(gamma: float, expected: list[float]) -> None:
    seen = [0.0]
    for mean in (0.2, 0.3, 0.25, 0.4):
        seen.append(next_baseline(seen[-1], np.array([mean - 0.1, mean + 0.1]), gamma))
    assert seen[1:] == pytest.approx(expected, abs=1e-12)


def test_baseline_and_advantages_of_three_candidates() -> None:
    """The vector of the interfaces sheet, section 7."""
    rewards = np.array([0.0393040, 0.0593190, 0.0851840])
    first = next_baseline(0.0, rewards, 0.99)
    assert first == pytest.approx(0.06065631, abs=6e-9)
    assert rewards - first == pytest.approx([-0.02135231, -0.00133731, 0.02452769], abs=6e-9)
    assert next_baseline(first, rewards, 0.99) == pytest.approx(0.06126287, abs=6e-9)


def test_reinforce_gradient_and_first_adam_step() -> None:
    team = agents(2, hidden=0)
    actions, rewards = np.array([[0, 2], [1, 2], [2, 1]]), np.array([0.05, 0.08, 0.02])
    assert team.learn(np.array([2, 2]), actions, rewards)
    assert team.baseline == pytest.approx(0.0495, abs=1e-15)
    ascent = -team.nets.last_bias.grad
    expected = torch.tensor([[0, 0.01, -0.01], [-0.0005 / 3, -0.01, 0.0305 / 3]], dtype=torch.float64)
    assert torch.allclose(ascent, expected, atol=1e-15)
    after = team.nets.last_bias.detach().flatten().tolist()
    assert after == pytest.approx([0, 0.001, -0.001, -0.00099994, -0.001, 0.001], abs=1e-8)


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    actions, advantages = torch.tensor(rng.integers(3, size=(5, 4))), torch.tensor(rng.normal(size=5))

    def loss(values: torch.Tensor) -> torch.Tensor:
        return policy_loss(torch.log_softmax(values, 1), actions, advantages)

    loss(logits).backward()
    for i in range(4):
        for a in range(3):
            step = torch.zeros(4, 3, dtype=torch.float64)
            step[i, a] = 1e-6
            slope = (loss(logits.detach() + step) - loss(logits.detach() - step)).item() / 2e-6
            assert float(logits.grad[i, a]) == pytest.approx(slope, abs=1e-8)


def test_the_gradient_of_a_network_is_that_of_finite_differences() -> None:
    team, state = agents(2, hidden=5, seed=3), np.array([2, 6])
    with torch.no_grad():
        team.nets.last_weight.normal_()
    actions, advantages = torch.tensor([[0, 2], [1, 0]]), torch.tensor([0.3, -0.7], dtype=torch.float64)
    policy_loss(team.log_probs(state), actions, advantages).backward()
    for parameter in team.nets.parameters():
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            before = float(flat[i])
            values = []
            for shift in (1e-6, -1e-6):
                flat[i] = before + shift
                values.append(policy_loss(team.log_probs(state), actions, advantages).item())
            flat[i] = before
            assert float(gradient[i]) == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-8)


def test_states_follow_their_actions_within_the_bounds() -> None:
    state = np.array([2, 2, 2])
    for step, expected in [
        ((-2, 0, 2), (0, 2, 4)),
        ((-2, 2, 2), (0, 4, 6)),
        ((0, -2, 2), (0, 2, 8)),
        ((-2, -2, 2), (0, 0, 8)),
    ]:
        state = moved(state, np.array([step]) // 2 + 1, **BOUNDS)[0]
        assert tuple(state) == expected


@given(st.lists(st.integers(0, 8), min_size=2, max_size=6), st.integers(0, 40), st.integers(0, 2**32))
def test_a_state_stays_within_bounds_and_cap(state: list[int], spare: int, seed: int) -> None:
    before, cap = np.array(state), sum(state) + spare
    actions = np.random.default_rng(seed).integers(3, size=(4, len(state)))
    after = moved(before, actions, **{**BOUNDS, "cap": cap})
    assert ((after >= 0) & (after <= 8)).all() and (after.sum(1) <= cap).all()
    free = np.clip(before + 2 * (actions - 1), 0, 8)
    fits = free.sum(1) <= cap
    assert np.array_equal(after[fits], free[fits])
    assert (after[~fits] <= before).all()


def test_actions_are_drawn_from_the_probabilities() -> None:
    probs = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    drawn = sampled(probs, 40_000, np.random.default_rng(0))
    seen = np.stack([np.bincount(drawn[:, c], minlength=3) for c in range(4)]) / 40_000
    assert np.abs(seen - probs).max() < 0.01
    assert (seen[probs == 0] == 0).all()


def play(seed: int, scores: Any, *, classes: int = 1, hidden: int = 64) -> np.ndarray:
    """Thirty updates; the mean over the agents of their probabilities (3,) where they started."""
    rng, team = np.random.default_rng(seed), agents(classes, hidden, seed)
    start = state = np.full(classes, 2)
    for _ in range(30):
        actions = sampled(team.probs(state), 3, rng)
        proposed = moved(state, actions, move=2, low=0, high=16, cap=999)
        found = scores(actions, rng)
        team.learn(state, actions, rewards_of(found))
        state = proposed[int(np.argmax(found))]
    return team.probs(start).mean(0)


def test_the_agents_solve_the_bandit_and_free_logits_do_not() -> None:
    """The sheet's D14: half a point of the score a step; p(+2) after 30 updates, from 1/3."""

    def bandit(actions: np.ndarray, rng: Any) -> np.ndarray:
        return np.array([0.495, 0.5, 0.505])[actions[:, 0]]

    networks, logits = ([play(seed, bandit, hidden=h)[2] for seed in range(16)] for h in (64, 0))
    assert np.mean(networks) > 0.45 and min(networks) > 1 / 3
    assert np.mean(logits) < 0.36


def test_a_constant_reward_teaches_nothing_at_all() -> None:
    for seed in range(20):
        probs = play(seed, lambda actions, rng: np.full(len(actions), 0.5), classes=2)
        assert probs == pytest.approx([1 / 3] * 3, abs=1e-15)


def test_noise_teaches_no_direction() -> None:
    """p(+2) - p(-2), mean of 4 agents, over 20 seeds."""
    found = [play(s, lambda actions, rng: 0.5 + 0.01 * rng.standard_normal(3), classes=4) for s in range(20)]
    drift = np.array([probs[2] - probs[0] for probs in found])
    assert abs(drift.mean()) < 2 * drift.std(ddof=1) / 20**0.5


def test_a_single_candidate_has_an_advantage() -> None:
    team = agents(2)
    assert team.learn(np.array([2, 2]), np.array([[2, 0]]), np.array([0.3]))
    probs = team.probs(np.array([2, 2]))
    assert probs[0, 2] > 1 / 3 > probs[0, 0] and probs[1, 0] > 1 / 3


def test_agents_survive_a_restart() -> None:
    team, state = agents(3, seed=1), np.array([2, 4, 0])
    rng = np.random.default_rng(0)
    rounds = [(rng.integers(3, size=(3, 3)), rng.random(3)) for _ in range(4)]
    for actions, rewards in rounds[:2]:
        team.learn(state, actions, rewards)
    other = agents(3, seed=2)
    other.load_state_dict(copy_state(team.state_dict()))
    assert np.array_equal(other.probs(state), team.probs(state))
    for actions, rewards in rounds[2:]:
        for each in (team, other):
            each.learn(state, actions, rewards)
    assert np.array_equal(other.probs(state), team.probs(state)) and other.baseline == team.baseline


def test_agents_do_not_touch_the_global_stream() -> None:
    torch.manual_seed(0)
    before = torch.rand(3)
    torch.manual_seed(0)
    agents(3, seed=5)
    assert torch.equal(torch.rand(3), before)
