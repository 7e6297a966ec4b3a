"""Losses with weights per class, hard examples and equalization: vectors in float64, and what they must not equal."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from ltbench_losses.class_balanced import balanced_weights, effective_number
from ltbench_losses.eql import tail_classes

import ltbench
from ltbench.errors import UserError

COUNTS = [1000, 200, 50, 5]
Z = [[2.0, 0.5, -1.0, 0.1], [0.3, 1.2, -0.7, 0.0], [1.5, -0.2, 0.4, -0.6], [0.9, 0.8, -0.3, 0.2]]
COS = [[0.80, 0.10, -0.30, 0.05], [0.20, 0.60, 0.10, -0.10], [0.35, 0.00, 0.40, 0.15], [0.30, 0.25, 0.10, 0.20]]
A, B = [0, 1, 2, 3], [0, 0, 1, 3]
SIGMOID = {"activation": "sigmoid"}
VECTORS = [
    ("cb-ce", {}, A, 1.65505557),
    ("cb-ce", {}, B, 1.55601828),
    ("cb-ce", {"normalize": "weight"}, A, 1.65505557),
    ("cb-ce", {"normalize": "weight"}, B, 1.69869614),
    ("cb-focal", {"activation": "softmax"}, A, 1.09107672),
    ("cb-focal", {"activation": "softmax"}, B, 1.04142443),
    ("cb-focal", {"gamma": 0.5}, A, 2.72485281),
    ("cb-focal", {"gamma": 0.5}, B, 2.54775712),
    ("cb-focal", {"gamma": 1}, A, 2.14905739),
    ("cb-focal", {"gamma": 1}, B, 2.01193054),
    ("cb-focal", {}, A, 1.38189588),
    ("cb-focal", {}, B, 1.29148764),
    ("cb-focal", {"gamma": 0}, A, 3.50016525),
    ("cb-focal", {"gamma": 0, "beta": 0}, A, 2.79685957),
    ("weighted-ce", {}, A, 1.65558352),
    ("weighted-ce", {}, B, 1.55611977),
    ("weighted-ce", {"rho": 1.2}, A, 1.67422279),
    ("weighted-ce", {"rho": 1.2}, B, 1.60077328),
    ("ohem", {"keep_ratio": 0.5}, A, 1.64385163),
    ("ohem", {"keep_ratio": 0.5, "score": "1-p"}, A, 1.64385163),
    ("ohem", {"keep_ratio": 0.25}, A, 1.69422054),
    ("ohem", {}, A, 1.64385163),
    ("ohem", {"keep_ratio": 0.25, "min_keep": 3}, A, 1.30228152),
    ("ohem", {"keep_ratio": 0.25, "min_keep": 9}, A, 1.06481263),
    ("ohem", {"keep_ratio": 0.01}, A, 1.69422054),
    ("eql", {"gamma": 1, "threshold": 0.05}, A, 0.90860249),
    ("eql", {"gamma": 1}, A, 0.90860249),
    ("eql", SIGMOID, A, 2.01040088),
]
EACH = [
    ("eql", {"gamma": 1}, [0.20141328, 0.34115387, 1.51578145, 1.57606136]),
    ("eql", SIGMOID, [1.10100500, 1.11763771, 2.81256740, 3.01039341]),
]
WRONG = [
    ("cb-focal", {"activation": "softmax"}, 1.51723793),  # the weight inside p
    ("ohem", {}, 1.30228152),  # k rounded up
    ("ohem", {"keep_ratio": 0.5}, 0.82192582),  # divided by N
]
EFFECTIVE = [
    (0.9, [10.0, 10.0, 9.948462, 4.095100], [0.73433256, 0.73433256, 0.73813675, 1.79319812]),
    (0.99, [99.995683, 86.602033, 39.499393, 4.900995], [0.15943006, 0.18408711, 0.40360918, 3.25287366]),
    (0.999, [632.304575, 181.351171, 48.794372, 4.990010], [0.02774709, 0.09674385, 0.35956217, 3.51594690]),
    (0.9999, [951.671064, 198.023070, 49.877696, 4.999000], [0.01858233, 0.08930408, 0.35455262, 3.53756097]),
]


def ready(name, counts=COUNTS, epoch=0, epochs=10, **options):
    loss = ltbench.build("loss", name, **options)
    loss.setup(class_counts=np.asarray(counts), total_epochs=epochs)
    loss.on_epoch_start(epoch)
    return loss


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("name", "options", "targets", "mean"), VECTORS)
def test_vectors(name, options, targets, mean):
    z, y = doubles(Z), torch.tensor(targets)
    assert float(ready(name, **options).loss(z, y)) == pytest.approx(mean, abs=1e-8)
    assert float(ready(name, **options).loss(z.float(), y)) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize(("name", "options", "each"), EACH)
def test_vectors_per_sample(name, options, each):
    assert ready(name, **options).per_sample(doubles(Z), torch.tensor(A)).tolist() == pytest.approx(each, abs=1e-8)


@pytest.mark.parametrize(("name", "options", "wrong"), WRONG)
def test_known_mistakes_are_not_made(name, options, wrong):
    assert abs(float(ready(name, **options).loss(doubles(Z), torch.tensor(A))) - wrong) > 0.1


@pytest.mark.parametrize(("beta", "numbers", "weights"), EFFECTIVE)
def test_effective_numbers(beta, numbers, weights):
    assert effective_number(np.array(COUNTS), beta) == pytest.approx(numbers, abs=1e-6)
    assert balanced_weights(np.array(COUNTS), beta) == pytest.approx(weights, abs=1e-8)


def test_effective_numbers_at_the_ends_of_beta():
    inverse = [0.01769912, 0.08849558, 0.35398230, 3.53982301]
    assert balanced_weights(np.array(COUNTS), 0.0).tolist() == [1, 1, 1, 1]
    assert balanced_weights(np.array(COUNTS), 1 - 1e-12) == pytest.approx(inverse, abs=1e-4)
    assert ready("weighted-ce").vector.values.tolist() == pytest.approx(inverse, abs=1e-8)
    wanted = [0.00643718, 0.04440786, 0.23438607, 3.71476889]
    assert ready("weighted-ce", rho=1.2).vector.values.tolist() == pytest.approx(wanted, abs=1e-8)


def test_sigmoid_probabilities_sum_to_one_and_keep_the_winner():
    z = doubles(Z)
    adjusted = ready("cb-focal", probs="sigmoid").adjust(z)
    sigmoid = torch.sigmoid(z)
    assert torch.allclose(adjusted.softmax(1), sigmoid / sigmoid.sum(1, keepdim=True))
    assert torch.equal(adjusted.argmax(1), z.argmax(1))
    assert torch.equal(ready("cb-focal").adjust(z), z)


DRW = [
    ("ce", 7, A, 1.06481263),
    ("ce", 7, B, 1.43981263),
    ("ce", 8, A, 1.65505557),
    ("ce", 8, B, 1.69869614),
    ("ldam", 7, A, 6.28613490),
    ("ldam", 8, A, 16.71402288),
    ("ldam", 8, B, 18.09898317),
    ("focal", 7, A, 0.57586742),
    ("focal", 8, A, 1.09107672),
]


@pytest.mark.parametrize(("base", "epoch", "targets", "value"), DRW)
def test_drw(base, epoch, targets, value):
    loss = ready("drw", base=base, epoch=epoch)
    z = doubles(COS if base == "ldam" else Z)
    assert float(loss.loss(z, torch.tensor(targets))) == pytest.approx(value, abs=1e-8)


def test_drw_over_n_and_with_options_of_the_base():
    loss = ready("drw", base="ldam", epoch=8, normalize="n")
    assert float(loss.loss(doubles(COS), torch.tensor(B))) == pytest.approx(16.57880302, abs=1e-8)
    plain = ready("drw", base={"name": "focal", "gamma": 1}, epoch=0)
    assert float(plain.loss(doubles(Z), torch.tensor(A))) == pytest.approx(0.76075973, abs=1e-8)


def test_drw_switches_at_the_floor_and_back_for_another_stage():
    loss, y = ready("drw", epochs=7), torch.tensor(B)
    values = []
    for epoch in [0, 4, 5, 6, 0]:
        loss.on_epoch_start(epoch)
        values.append(float(loss.loss(doubles(Z), y)))
    assert values == pytest.approx([1.43981263] * 2 + [1.69869614] * 2 + [1.43981263], abs=1e-8)
    assert ready("drw", switch=0.29, epochs=100).switch_at == 29


def test_drw_takes_over_head_adjustment_and_state():
    loss = ready("drw", base="ldam")
    assert loss.head == "cosine"
    assert torch.equal(loss.adjust(doubles(COS)), 30 * doubles(COS))
    assert ready("drw").head == "linear"

    class Keeper(type(ltbench.build("loss", "ce"))):
        kept = 0

        def state_dict(self):
            return {"kept": self.kept}

        def load_state_dict(self, state):
            self.kept = state["kept"]

    first, second = Keeper(), Keeper()
    first.kept = 7
    ready("drw", base=second).load_state_dict(ready("drw", base=first).state_dict())
    assert second.kept == 7


@pytest.mark.parametrize("base", ["ohem", "eqlv2"])
def test_drw_needs_a_per_sample_form(base):
    with pytest.raises(UserError, match=r"no value per sample .* --set loss\.base=ce"):
        ready("drw", base=base)


@pytest.mark.parametrize(
    ("counts", "tail"),
    [
        (COUNTS, [2, 3]),
        ([60, 30, 10], []),
        ([327, 514, 1099, 115, 1113, 6705, 142], [3, 6]),
        ([95, 2, 2, 1], [1, 2, 3]),
        ([94, 3, 3], []),
        ([10, 10], []),
    ],
)
def test_tail_classes(counts, tail):
    assert np.flatnonzero(tail_classes(counts)).tolist() == tail


def test_eql_says_which_classes_are_tail(caplog):
    with caplog.at_level(logging.INFO, logger="ltbench"):
        ready("eql")
        ready("eql", threshold=1.76e-3)
    assert "tail classes [2, 3]" in caplog.text
    assert "no class is tail" in caplog.text


def test_eql_spares_single_elements_with_probability_gamma():
    z, y = torch.zeros(4000, 4), torch.zeros(4000, dtype=torch.long)
    torch.manual_seed(0)
    kept = ready("eql", gamma=0.9).per_sample(z, y).exp().round()  # 4 logits less the spared ones
    share = torch.bincount(kept.long(), minlength=5) / 4000
    assert share[2:].tolist() == pytest.approx([0.81, 0.18, 0.01], abs=0.02)
    assert torch.allclose(ready("eql", gamma=0).loss(z, y), torch.tensor(4.0).log())


STEPS = [2.79685957, 1.87508278, 1.75078293]
RATIOS = [
    [0.05668322, 0.13132602, 0.39102405, 0.32636739],
    [0.34002357, 0.78752633, 2.31767087, 1.94717852],
    [0.62002287, 0.82119114, 1.35786764, 1.13814546],
]


def test_eqlv2_three_steps():
    loss = ready("eqlv2")
    for value, ratio in zip(STEPS, RATIOS, strict=True):
        assert float(loss.loss(doubles(Z), torch.tensor(A))) == pytest.approx(value, abs=1e-8)
        assert loss.state[2].tolist() == pytest.approx(ratio, abs=1e-8)
    q = torch.sigmoid(12 * (doubles(RATIOS[0]) - 0.8))
    assert q.tolist() == pytest.approx([0.00013370, 0.00032737, 0.00733518, 0.00338979], abs=1e-8)
    assert (1 + 4 * (1 - q)).tolist() == pytest.approx([4.99946521, 4.99869051, 4.97065929, 4.98644083], abs=1e-7)


def test_eqlv2_goes_on_where_it_was_interrupted():
    loss, again = ready("eqlv2"), ready("eqlv2")
    loss.loss(doubles(Z), torch.tensor(A))
    saved = loss.state_dict()
    loss.loss(doubles(Z), torch.tensor(B))  # must not reach into what was saved
    again.load_state_dict(saved)
    again.on_epoch_start(5)
    for value in STEPS[1:]:
        assert float(again.loss(doubles(Z), torch.tensor(A))) == pytest.approx(value, abs=1e-8)
    assert not again.state.requires_grad
