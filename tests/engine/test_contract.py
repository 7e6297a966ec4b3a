"""The contract carries what comes next: four stand-in methods, repeatable, seeded and resumable."""

from __future__ import annotations

import inspect
import json

import numpy as np
import plugins_under_test as under_test
import pytest
import torch

METHODS = ["t-rl-cas", "t-crt", "t-two-optimisers", "t-glmc", "t-careless"]


def same(a, b) -> bool:
    return np.array_equal(a.predictions.probs, b.predictions.probs) and np.array_equal(
        a.predictions.val_probs, b.predictions.val_probs
    )


def lines(result) -> str:
    return json.dumps(result.history, sort_keys=True)


@pytest.mark.parametrize("method", METHODS)
def test_twice_the_same_and_another_seed_differs(cell, method):
    first, second = cell(method), cell(method, out="again")
    assert same(first, second)
    assert lines(first) == lines(second)
    assert first.data["selection"] == second.data["selection"]
    assert not same(first, cell(method, seed=1))
    assert np.allclose(first.predictions.probs.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_resumed_equals_uninterrupted(cell, interrupted, method):
    """Stopped after each of its epochs but the last."""
    whole, epochs = cell(method), 1
    while interrupted(epochs, method, out=f"stopped{epochs}"):
        resumed = cell(method, out=f"stopped{epochs}")
        assert same(whole, resumed)
        assert lines(whole) == lines(resumed)
        epochs += 1
    assert epochs == len(whole.history)


def test_many_interruptions_of_iois(cell, interrupted):
    short = {**under_test.SHORT_DIFFUSION, "protocol.epochs": 3}
    for _ in range(3):
        interrupted(1, "iois", short, out="stopped")
    assert same(cell("iois", short), cell("iois", short, out="stopped"))


@pytest.mark.parametrize("name", ["RLCAS", "CRT", "Paired", "GLMC"])
def test_a_stand_in_is_short(name):
    assert len(inspect.getsource(getattr(under_test, name)).splitlines()) <= 60


def test_rl_cas_keeps_the_best_of_three_and_counts_per_batch(cell):
    result = cell("t-rl-cas", {"protocol.epochs": 3})
    for line in result.history:
        assert len(line["candidate_scores"]) == 3
        assert line["val_score"] == max(line["candidate_scores"])
        assert line["synthetic_counts"] == [6] * 10


def test_rl_cas_reinforce_vector():
    sampler = under_test.RLCAS(lr=1e-3, low=0, high=8, move=2)
    sampler.setup(class_counts=np.array([5, 5]), total_epochs=1)
    sampler.actions = np.array([[0, 2], [1, 2], [2, 1]])
    sampler.proposed = np.clip(sampler.state + 2 * (sampler.actions - 1), 0, 8)
    sampler.observe(np.cbrt([0.05, 0.08, 0.02]) - 0.04, 1)
    assert sampler.baseline == pytest.approx(0.0495, abs=1e-9)
    gradient = -sampler.logits.grad
    expected = [[0, 0.01, -0.01], [-0.00016667, -0.01, 0.01016667]]
    assert torch.allclose(gradient, torch.tensor(expected), atol=1e-7)
    assert sampler.logits.detach()[1].tolist() == pytest.approx([-0.00099994, -0.001, 0.001], abs=1e-7)
    assert sampler.state.tolist() == [2, 4]


def test_crt_freezes_backbone_and_its_statistics(cell, stand_ins, monkeypatch):
    states, seen = [], []
    end, start = under_test.CRT.end_stage, under_test.CRT.start_stage

    def watch_start(self, stage, context):
        states.append({k: v.clone() for k, v in self.net.state_dict().items()})
        start(self, stage, context)
        if stage.name == "head":
            seen.append([p.requires_grad for p in self.net[0].parameters()])
            assert not torch.equal(states[-1]["1.weight"], self.net[1].weight)

    def watch_end(self, stage, context):
        end(self, stage, context)
        states.append({k: v.clone() for k, v in self.net.state_dict().items()})

    monkeypatch.setattr(under_test.CRT, "start_stage", watch_start)
    monkeypatch.setattr(under_test.CRT, "end_stage", watch_end)
    result = cell("t-crt")
    assert [line["stage"] for line in result.history] == ["representation"] * 2 + ["head"] * 2
    assert result.data["selection"]["stage"] == "head"
    before, after = states[1], states[-1]
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("0."))
    assert not any(seen[0])


def test_stages_without_selection_keep_the_last_epoch_and_validate_when_due(cell):
    history = cell("t-two-optimisers", {"protocol.epochs": 3}).history
    head = [line for line in history if line["stage"] == "head"]
    assert [np.isnan(line["val_score"]) for line in head] == [True, False, False]


def test_a_classifier_without_logits_cannot_guide(cell):
    from ltbench.errors import CannotGuide

    with pytest.raises(CannotGuide, match="TwoOptimisers offers no differentiable logits"):
        cell(
            "t-two-optimisers",
            {
                "sampler": {"name": "fixed-quota", "total": 10},
                "generator": {"name": "guided-ddpm", "train_steps": 4, "steps": 2},
            },
        )
