"""Distractor-aware learning: the vector of a linear model, the double backward pass, backbones without a map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ltbench_longtail.danil import distraction, distractors
from torch.nn import functional as F

import ltbench
from ltbench.errors import UserError
from ltbench.recipe import resolve
from ltbench.testing import tiny_context, tiny_run

WEIGHT = torch.tensor([[1, 0], [0, 1], [-1, 1]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])


@pytest.fixture
def x():
    return torch.tensor([[0.5, 0.2], [1, -0.3]], dtype=torch.float64, requires_grad=True)


def test_vector(x):
    logits = x @ WEIGHT.T
    assert distractors(logits, LABELS).tolist() == [1, 0]
    ce = F.cross_entropy(logits, LABELS, reduction="none")
    assert np.allclose(ce.detach(), [0.78396875, 1.61684563], atol=1e-8)
    term = distraction(logits, LABELS, x, 1e-2)
    assert 0.1 * term.item() == pytest.approx(0.04975124, abs=1e-8)
    assert (ce.mean() + 0.1 * term).item() == pytest.approx(1.25015843, abs=1e-8)


def test_the_identity_behind_the_single_pass(x):
    def response(c):
        return torch.autograd.grad(F.cross_entropy(x @ WEIGHT.T, torch.tensor(c), reduction="sum"), x)[0]

    own, other = response([0, 1]), response([1, 0])
    assert np.allclose(own[0], [-0.74856894, 0.54340968], atol=1e-8)
    assert np.allclose(other[0], [0.25143106, -0.45659032], atol=1e-8)
    assert np.allclose(own - other, [[-1, 1], [1, -1]])


def test_the_term_is_at_most_one_over_eps(x):
    logits = x @ torch.ones(3, 2, dtype=torch.float64).T
    assert distraction(logits, LABELS, x, 0.01).item() == pytest.approx(100)


def test_the_term_trains_by_a_second_derivative():
    weight, x = WEIGHT.clone().requires_grad_(), torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: distraction(torch.tanh(x @ w.T), LABELS, x, 0.01), (weight,))


def test_learns_and_widens_the_gap(tmp_path):
    run, probs = tiny_run(tmp_path, classifier="danil", protocol={"epochs": 6, "backbone": "small_resnet"})
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert (probs.argmax(1) == run.context.val.labels).mean() > 0.5


def test_weight_zero_is_the_standard_classifier(tmp_path):
    _, plain = tiny_run(tmp_path / "a", classifier="standard")
    _, zero = tiny_run(tmp_path / "b", classifier={"name": "danil", "weight": 0.0})
    assert np.allclose(plain, zero, atol=1e-6)


@pytest.mark.parametrize("id", ["danil", "gmic"])
def test_a_vit_has_no_map(tmp_path, id):
    context = tiny_context(tmp_path, classifier=id, protocol={"backbone": "vit_tiny_patch16_224"})
    with pytest.raises(UserError, match=rf"{id} needs a backbone with a convolutional map .*'vit_tiny_patch16_224'"):
        context.component("classifier").setup(context)


def test_the_row_is_marked_as_assumed():
    draft, _ = resolve("danil", "digits-lt", "quick")
    assert draft.freeze(n_train=300, content="").as_dict()["assumed"] is True


@pytest.mark.parametrize(("option", "value"), [("weight", -1), ("eps", 0)])
def test_bad_options(option, value):
    with pytest.raises(UserError, match="weight must be >= 0 and eps > 0"):
        ltbench.build("classifier", "danil", **{option: value})
