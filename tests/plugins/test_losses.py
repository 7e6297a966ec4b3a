"""Cross-entropy and focal loss: vectors of the losses sheet."""

from __future__ import annotations

import pytest
import torch

import ltbench
from ltbench.errors import ContractError, UnknownName, UserError

Z = [[2.0, 0.5, -1.0, 0.1], [0.3, 1.2, -0.7, 0.0], [1.5, -0.2, 0.4, -0.6], [0.9, 0.8, -0.3, 0.2]]
A, B = [0, 1, 2, 3], [0, 0, 1, 3]
CE_A, CE_B = [0.35240594, 0.61914131, 1.59348272, 1.69422054], [0.35240594, 1.51914131, 2.19348272, 1.69422054]
VECTORS = [
    ("ce", {}, A, CE_A, 1.06481263),
    ("ce", {}, B, CE_B, 1.43981263),
    ("focal", {"gamma": 2}, A, [0.03108649, 0.13191951, 1.01164440, 1.12881930], 0.57586742),
    ("focal", {"gamma": 1}, A, [0.10466643, 0.28579157, 1.26966053, 1.38292040], 0.76075973),
    ("focal", {"gamma": 0}, B, CE_B, 1.43981263),
]


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
@pytest.mark.parametrize(("name", "options", "targets", "each", "mean"), VECTORS)
def test_vectors(name, options, targets, each, mean, dtype, within):
    loss = ltbench.build("loss", name, **options)
    z, y = torch.tensor(Z, dtype=dtype), torch.tensor(targets)
    assert loss.per_sample(z, y).tolist() == pytest.approx(each, abs=within)
    assert float(loss.loss(z, y)) == pytest.approx(mean, abs=within)
    assert torch.equal(loss.adjust(z), z)


def test_focal_gradient_stays_finite_where_p_is_0_or_1():
    for gamma in (0.5, 1, 2):
        z = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
        ltbench.build("loss", "focal", gamma=gamma).loss(z, torch.tensor([0, 0])).backward()
        assert torch.isfinite(z.grad).all()


def test_focal_alpha_multiplies_outside_the_modulator():
    z, y = torch.tensor(Z), torch.tensor(A)
    plain = ltbench.build("loss", "focal").per_sample(z, y)
    weights = [1.0, 2.0, 3.0, 4.0]
    assert torch.allclose(ltbench.build("loss", "focal", alpha=weights).per_sample(z, y), plain * torch.tensor(weights))
    assert torch.allclose(ltbench.build("loss", "focal", alpha=0.25).per_sample(z, y), plain * 0.25)


def test_focal_sigmoid_form_by_hand():
    z, y = torch.tensor([[0.3, -1.0]]), torch.tensor([0])
    p = torch.sigmoid(z)
    by_hand = -((1 - p[0, 0]) ** 2) * p[0, 0].log() - p[0, 1] ** 2 * (1 - p[0, 1]).log()
    assert torch.allclose(ltbench.build("loss", "focal", activation="sigmoid").loss(z, y), by_hand)


def test_label_smoothing():
    z, y = torch.tensor(Z), torch.tensor(A)
    expected = 0.9 * -z.log_softmax(1)[range(4), A].mean() + 0.1 * -z.log_softmax(1).mean()
    assert torch.allclose(ltbench.build("loss", "ce", label_smoothing=0.1).loss(z, y), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [("ce", {"label_smoothing": 1}), ("focal", {"gamma": -1}), ("focal", {"activation": "tanh"})],
)
def test_bad_options(name, options):
    with pytest.raises(UserError, match=f"loss.{next(iter(options))} must be"):
        ltbench.build("loss", name, **options)
    with pytest.raises(UnknownName, match="Did you mean gamma"):
        ltbench.build("loss", "focal", gama=1)


def test_a_loss_without_per_sample_form_says_so():
    class Plain(ltbench.interfaces.Loss):
        def loss(self, logits, targets):
            return logits.sum()

    with pytest.raises(ContractError, match="Plain has no per-sample form"):
        Plain().per_sample(torch.zeros(1, 2), torch.zeros(1).long())
