"""ProCo with von Mises-Fisher classes: Bessel functions, the vectors, the estimators, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from longtail_support import accuracy, returns, rows, unit
from ltbench_longtail.bessel import log_bessel, log_normaliser
from ltbench_longtail.proco_vmf import Estimator, concentration, contrast_logits, joint_length
from scipy.special import gammaln, ive, logsumexp
from torch.nn import functional as F

import ltbench
from ltbench.errors import UserError
from ltbench.testing import tiny_run

M = rows([0.9, 0.1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.2, 0.8])
U = rows([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5])
LOG_COUNTS = torch.tensor([100.0, 20.0, 5.0], dtype=torch.float64).log()
ORDERS = [0, 1, 3, 15, 31, 63, 64, 127, 511, 1023]
ARGUMENTS = [1e-8, 1e-3, 0.1, 1, 10, 63, 200, 1023, 5000, 1e5]


def series(order: float, x: float) -> float:
    """log(I_v(x) / x^v) from its power series, all of whose terms are positive."""
    k = np.arange(int(x) + 200)
    logs = 2 * k * np.log(x / 2) - gammaln(k + 1) - gammaln(order + k + 1)
    return float(logsumexp(logs) - order * np.log(2))


@pytest.mark.parametrize("order", ORDERS)
def test_normaliser_equals_its_power_series(order: int) -> None:
    value, slope = log_normaliser(order, torch.tensor(ARGUMENTS, dtype=torch.float64))
    assert value.tolist() == pytest.approx([series(order, x) for x in ARGUMENTS], rel=1e-11, abs=1e-10)
    ratios = [x * np.exp(series(order + 1, x) - series(order, x)) for x in ARGUMENTS]
    assert slope.tolist() == pytest.approx(ratios, rel=1e-8)
    assert (slope <= 1).all() and (slope > 0).all()


@pytest.mark.parametrize("order", [0, 1, 15, 63])
def test_normaliser_equals_scipy(order: int) -> None:
    x = np.array([0.5, 3.0, 40.0, 500.0, 1e5])
    value, slope = log_normaliser(order, torch.from_numpy(x))
    direct = ive(order, x)
    fine = direct > 0
    assert value.numpy()[fine] == pytest.approx((np.log(direct[fine]) + x[fine] - order * np.log(x[fine])), rel=1e-10)
    assert slope.numpy()[fine] == pytest.approx(ive(order + 1, x[fine]) / direct[fine], rel=1e-9)


def test_normaliser_at_zero() -> None:
    for dim in (4, 128, 2048):
        v = dim / 2 - 1
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        value = log_bessel(x, dim)
        value.sum().backward()
        assert value.item() == pytest.approx(-v * np.log(2) - gammaln(v + 1), rel=1e-12)
        assert x.grad is not None and x.grad.item() == 0


@pytest.mark.parametrize("dim", [2, 4, 32, 128, 1024])
def test_normaliser_gradient(dim: int) -> None:
    x = torch.tensor([0.3, 2.0, 30.0, 400.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_bessel(x, dim), x)


def test_concentrations_and_lengths() -> None:
    assert M.norm(dim=1).tolist() == pytest.approx([0.90553851, 0.70710678, 0.82462113], abs=1e-8)
    assert concentration(M).tolist() == pytest.approx([20.12307808, 5.65685425, 10.30776406], abs=1e-8)
    expected = [[30.08219193, 11.48912529, 14.36140662], [26.96591355, 14.56021978, 18.20027472]]
    assert joint_length(U, M, 0.1).tolist() == [pytest.approx(row, abs=1e-8) for row in expected]
    assert concentration(rows([1, 0], [2, 0], [0, 0])).tolist() == [1e5, 1e5, 0]


def test_contrast_logits_and_their_loss() -> None:
    g = contrast_logits(U, M, 0.1)
    expected = [[9.36245534, 4.80867500, 3.56740780], [6.40872285, 7.53191581, 7.05681999]]
    assert g.tolist() == [pytest.approx(row, abs=1e-8) for row in expected]
    each = F.cross_entropy(g + LOG_COUNTS, torch.tensor([0, 2]), reduction="none")
    assert each.tolist() == pytest.approx([0.00225505, 2.88443613], abs=1e-8)
    assert each.mean().item() == pytest.approx(1.44334559, abs=1e-8)


def test_gradient_reaches_features_alone() -> None:
    means = M.clone()
    assert torch.autograd.gradcheck(lambda u: contrast_logits(u, means, 0.1), U.clone().requires_grad_())


def test_estimator_starts_in_random_directions_and_runs_a_mean() -> None:
    estimator = Estimator(3, 128)
    estimator.restart(torch.Generator().manual_seed(0))
    assert concentration(estimator.mean).tolist() == pytest.approx([606.315789] * 3, abs=1e-6)
    small = Estimator(2, 2)
    small.mean.copy_(rows([1, 0], [0.3, 0.4]))
    small.seen.copy_(torch.tensor([3.0, 0.0]))
    small.update(rows([0, 1], [1, 1]), torch.tensor([0, 0]))
    assert small.mean.tolist() == [pytest.approx([0.8, 0.4]), [0.3, 0.4]]
    assert small.seen.tolist() == [5, 0]
    small.update(rows([1, 0]), torch.tensor([1]))
    assert small.mean[1].tolist() == [1, 0]


def test_estimator_equals_the_mean_of_all_it_saw() -> None:
    x, y = unit(40, 6), torch.arange(40) % 3
    estimator = Estimator(3, 6)
    estimator.restart(torch.Generator().manual_seed(0))
    for part in torch.arange(40).split(7):
        estimator.update(x[part], y[part])
    assert torch.allclose(estimator.mean, torch.stack([x[y == c].mean(0) for c in range(3)]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 33}, "dim must be even, got 33; take 34"),
        ({"temperature": -1}, "temperature must be a number above 0, got -1"),
        ({"alpha": float("nan")}, "alpha must be a number of at least 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", "proco-vmf", **options)


def test_learns_and_keeps_its_statistics(tmp_path: Path) -> None:
    run, score = accuracy(tmp_path / "run", classifier="proco-vmf")
    assert score > 0.6
    *_, old, current = run.classifier.net
    assert old.seen.sum() > current.seen.sum() > 0
    assert returns(run, tmp_path, "proco-vmf")


@pytest.mark.parametrize("batch_size", [2, 7])
def test_small_and_odd_batches(tmp_path: Path, batch_size: int) -> None:
    protocol = {"batch_size": batch_size, "epochs": 1}
    run, _ = tiny_run(tmp_path, classifier="proco-vmf", protocol=protocol, num_classes=2)
    assert np.isfinite(run.history[0]["loss"])
