"""Balanced softmax, logit adjustment and LDAM: vectors in float64, and what they must not equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ltbench
from ltbench.models.nets import CosineHead

COUNTS = [1000, 200, 50, 5]
Z = [[2.0, 0.5, -1.0, 0.1], [0.3, 1.2, -0.7, 0.0], [1.5, -0.2, 0.4, -0.6], [0.9, 0.8, -0.3, 0.2]]
COS = [[0.80, 0.10, -0.30, 0.05], [0.20, 0.60, 0.10, -0.10], [0.35, 0.00, 0.40, 0.15], [0.30, 0.25, 0.10, 0.20]]
A, B = [0, 1, 2, 3], [0, 0, 1, 3]
CE_A = [0.35240594, 0.61914131, 1.59348272, 1.69422054]
BALANCED = [0.04675307, 1.12420541, 4.14812787, 6.17939659]
LDAM_A = [0.00000005, 0.00250863, 6.93859313, 18.20343780]
LDAM_B = [0.00000005, 15.98872234, 18.16639584, 18.20343780]
VECTORS = [
    ("balanced-softmax", {}, Z, A, BALANCED, 2.87462073),
    ("logit-adjustment", {}, Z, A, BALANCED, 2.87462073),
    ("logit-adjustment", {"tau": 0.5}, Z, A, [0.11466321, 0.70878659, 2.75040675, 3.75935827], 1.83330371),
    ("logit-adjustment", {"tau": 2}, Z, A, None, 5.21377091),
    ("logit-adjustment", {"tau": 0}, Z, A, CE_A, 1.06481263),
    ("logit-adjustment-posthoc", {}, Z, A, CE_A, 1.06481263),
    ("ldam", {}, COS, A, LDAM_A, 6.28613490),
    ("ldam", {}, COS, B, LDAM_B, 13.08963901),
]


def ready(name, counts=COUNTS, **options):
    loss = ltbench.build("loss", name, **options)
    loss.setup(class_counts=np.asarray(counts), total_epochs=10)
    loss.on_epoch_start(0)
    return loss


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("name", "options", "logits", "targets", "each", "mean"), VECTORS)
def test_vectors(name, options, logits, targets, each, mean):
    loss, z, y = ready(name, **options), doubles(logits), torch.tensor(targets)
    assert float(loss.loss(z, y)) == pytest.approx(mean, abs=1e-8)
    assert float(loss.loss(z.float(), y)) == pytest.approx(mean, abs=1e-4)
    if each is not None:
        assert loss.per_sample(z, y).tolist() == pytest.approx(each, abs=1e-8)


def test_balanced_softmax_gradient():
    z = doubles(Z).requires_grad_()
    ready("balanced-softmax").loss(z, torch.tensor(A)).backward()
    assert z.grad[0].tolist() == pytest.approx([-0.01141925, 0.01064691, 0.00059391, 0.00017842], abs=1e-8)
    assert z.grad[3].tolist() == pytest.approx([0.20859231, 0.03774843, 0.00314134, -0.24948208], abs=1e-8)


@pytest.mark.parametrize("name", ["balanced-softmax", "logit-adjustment"])
def test_the_prior_is_used_in_training_alone(name):
    assert torch.equal(ready(name).adjust(doubles(Z)), doubles(Z))


@pytest.mark.parametrize(("tau", "winners"), [(0, [0, 0, 0]), (0.5, [1, 2, 0]), (1, [2, 2, 0]), (2, [2, 2, 2])])
def test_posthoc_adjustment(tau, winners):
    z = doubles([[1.2, 0.9, 0.1], [0.2, 0.1, -0.4], [2.5, 0.3, 0.0]])
    adjusted = ready("logit-adjustment-posthoc", [60, 30, 10], tau=tau).adjust(z)
    assert adjusted.argmax(1).tolist() == winners
    if tau == 1:
        assert adjusted[0].tolist() == pytest.approx([1.71082562, 2.10397280, 2.40258509], abs=1e-8)


def test_posthoc_adjustment_of_an_extreme_tail_wins_everywhere():
    assert ready("logit-adjustment-posthoc").adjust(doubles(Z)).argmax(1).tolist() == [3] * 4


def test_margins():
    loss = ready("ldam")
    assert loss.vector.values.tolist() == pytest.approx([0.13295740, 0.19881768, 0.28117066, 0.5], abs=1e-8)
    assert loss.head == "cosine"
    assert torch.equal(loss.adjust(doubles(COS)), 30 * doubles(COS))


def test_known_mistakes_are_not_made():
    unscaled = ready("ldam", scale=1)
    assert float(unscaled.loss(doubles(COS), torch.tensor(A))) == pytest.approx(1.32314327, abs=1e-8)
    right = float(ready("ldam").loss(doubles(COS), torch.tensor(A)))
    for wrong in (1.32314327, 0.99682818):  # without the scale, margin after scaling
        assert abs(right - wrong) > 1


def test_cosine_head():
    head = CosineHead(2, 3).double()
    assert torch.allclose(head.weight.norm(dim=1), torch.ones(3, dtype=torch.float64))
    with torch.no_grad():
        head.weight.copy_(doubles([[1, 0], [0, 2], [1, 1]]))
    assert head(doubles([[3, 4]]))[0].tolist() == pytest.approx([0.6, 0.8, 0.98994949], abs=1e-8)
