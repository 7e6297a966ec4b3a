"""The vectors of the distance sheets, scipy and torchmetrics as oracles, properties and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.errors import ContractError, NonFinite
from ltbench.metrics import (
    FeatureStats,
    frechet_distance,
    frechet_from_features,
    kernel_distance,
    kernel_distance_subsets,
    prdc,
)
from ltbench.metrics.neighbours import neighbour_radii

X = np.array([[0, 0], [1, 0], [0, 1], [2, 1], [1, 3]])
Y = np.array([[1, 1], [2, 0], [3, 2], [2, 4], [0, 1]])
REAL = np.array([(0, 0), (1, 0), (0, 1), (5, 5)], dtype=float)


def exact(value, expected, tolerance=1e-9):
    assert value == pytest.approx(expected, abs=tolerance, rel=0)


def test_frechet_vectors():
    exact(frechet_from_features(X, Y), 1.18104535, 5e-9)
    exact(frechet_distance(0.0, 1.0, 1.0, 4.0), 2.0)
    exact(frechet_distance(np.zeros(3), np.diag([1, 4, 9]), np.array([1, 2, 2]), np.diag([4, 1, 9])), 11.0)
    exact(frechet_distance([0, 0], [[2, 1], [1, 2]], [0, 0], [[3, -1], [-1, 1]]), 1.397279504456862)
    u, v = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    exact(frechet_distance([0, 0], np.outer(u, u), [0, 0], np.outer(v, v)), 0.8)
    exact(frechet_from_features([(0, 0), (2, 0), (0, 2), (2, 2)], [(1, 1), (3, 1), (1, 5), (3, 5)]), 6.333333333333333)


def test_frechet_of_constant_features_is_the_mean_term():
    exact(frechet_from_features(np.zeros((4, 3)), np.ones((5, 3))), 3.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(1, 20))
def test_frechet_properties(seed, n, d):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), rng.normal(size=(n + 3, d)) * 2
    exact(frechet_from_features(a, a), 0.0, 1e-12 * max(1, d))
    shift = rng.normal(size=d)
    exact(frechet_from_features(a, a + shift), float(shift @ shift), 1e-8)
    centred = a - a.mean(axis=0)
    exact(frechet_from_features(centred, 3 * centred), 4 * np.trace(np.cov(a.T).reshape(d, d)), 1e-8)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    base = frechet_from_features(a, b)
    exact(frechet_from_features(a @ rotation, b @ rotation), base, 1e-8)
    exact(frechet_from_features(b, a), base, 1e-8)
    exact(frechet_from_features(a, b, weights_b=np.full(n + 3, 0.5)), base, 1e-8)


def test_all_forms_agree_with_scipy_on_full_rank_data():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    mix = rng.normal(size=(2, 20, 20))
    a, b = rng.normal(size=(300, 20)) @ mix[0], rng.normal(size=(200, 20)) @ mix[1] + 1
    c1, c2 = np.cov(a.T), np.cov(b.T)
    gap = a.mean(0) - b.mean(0)
    oracle = float(gap @ gap + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2))))
    assert frechet_from_features(a, b) == pytest.approx(oracle, rel=1e-8)
    assert frechet_distance(a.mean(0), c1, b.mean(0), c2) == pytest.approx(oracle, rel=1e-8)


def test_rank_deficient_form_equals_the_padded_full_rank_one():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 6)), rng.normal(size=(25, 6))
    wide = np.zeros((6, 200))
    wide[:, :6] = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert frechet_from_features(a @ wide, b @ wide) == pytest.approx(frechet_from_features(a, b), rel=1e-9)


def test_torchmetrics_agrees_with_the_same_extractor():
    torch = pytest.importorskip("torch")
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x.reshape(len(x), -1).float()

    rng = np.random.default_rng(2)
    a, b = (rng.integers(0, 256, (90, 3, 2, 2), dtype=np.uint8) for _ in range(2))
    metric = FrechetInceptionDistance(feature=Flat())
    metric.update(torch.tensor(a), real=True)
    metric.update(torch.tensor(b), real=False)
    ours = frechet_from_features(a.reshape(90, -1), b.reshape(90, -1))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-4)


def test_sample_size_bias_follows_the_sheet():
    rng = np.random.default_rng(3)
    draws = [frechet_from_features(*rng.normal(size=(2, 128, 64))) for _ in range(5)]
    assert np.mean(draws) == pytest.approx(17.4, rel=0.05)


SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000)
BIAS = {16: (1.80, 0.866, 0.343, 0.182, 0.082, 0.033, 0.015), 64: (22.7, 11.15, 4.44, 2.23, 1.09, 0.446, 0.219)}


@pytest.mark.parametrize(
    ("d", "n", "published"),
    [(d, n, value) for d, row in BIAS.items() for n, value in zip(SIZES, row, strict=True)],
)
def test_sample_size_bias_of_one_distribution(d, n, published):
    """Against single draws of the sheet, and where n >> d against 2 d / n for the means, d (d + 1) / 2 n beside."""
    draws = [frechet_from_features(*np.random.default_rng(seed).normal(size=(2, n, d))) for seed in range(5)]
    assert np.mean(draws) == pytest.approx(published, rel=0.15)
    if n > 10 * d:
        assert np.mean(draws) == pytest.approx((2 * d + d * (d + 1) / 2) / n, rel=0.08)


def test_weights_replace_repetition():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    keep = np.r_[np.ones(20), np.zeros(10)]
    assert frechet_from_features(a, b, weights_b=keep) == pytest.approx(frechet_from_features(a, b[:20]), rel=1e-9)


def test_kernel_vectors():
    exact(kernel_distance(X, Y), -5.15)
    x, y = [(1, 0), (0, 1), (1, 1)], [(0, 0), (2, 0), (0, 2)]
    exact(kernel_distance(x, y), -4.638888888888888)
    exact(kernel_distance(x, x), -1.555555555555555)


def test_kernel_subsets():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(60, 4)), rng.normal(size=(80, 4))
    whole = kernel_distance(a, b[:60], size=60)
    mean, sd = kernel_distance_subsets(a, b[:60], subsets=400, size=20)
    assert sd > 0 and abs(mean - whole) < 4 * sd / math.sqrt(400)
    assert kernel_distance(a, b) == kernel_distance(a, b) != kernel_distance(a, b, seed=1)
    assert kernel_distance_subsets(a, b[:60])[1] == 0.0


def test_prdc_vectors():
    fake = np.array([(0.5, 0), (0.2, 0.1), (9, 9), (5, 4)])
    assert neighbour_radii(REAL, 1)[:, 0] == pytest.approx([1, 1, 1, 6.403124237], abs=1e-9)
    found = neighbour_radii(fake, 1)[:, 0]
    assert found == pytest.approx([0.316227766, 0.316227766, 6.403124237, 6.020797289], abs=1e-9)
    assert prdc(REAL, fake, 1) == {"precision": 1.0, "recall": 1.0, "density": 1.75, "coverage": 1.0}
    assert prdc(REAL, fake, 2) == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
    fake = np.array([(0.5, 0.1), (0.2, 0.1), (0.3, 0.4), (-9, -9), (0.6, 0.3)])
    assert prdc(REAL, fake, 1) == pytest.approx({"precision": 0.8, "recall": 0.25, "density": 2.2, "coverage": 0.75})
    assert prdc(REAL, fake, 2) == pytest.approx({"precision": 0.8, "recall": 0.25, "density": 1.2, "coverage": 0.75})


def test_a_point_on_the_rim_of_a_ball_is_outside():
    real = np.array([[0.0], [1.0], [2.0]])
    assert prdc(real, np.array([[3.0], [-1.0]]), 1) == {"precision": 0, "recall": 1, "density": 0, "coverage": 0}
    assert prdc(np.zeros((3, 1)), np.zeros((3, 1)), 1) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_prdc_chunks_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 50, 3))
    whole = prdc(a, b, 3)
    monkeypatch.setattr("ltbench.metrics.neighbours.CHUNK", 7)
    assert prdc(a, b, 3) == pytest.approx(whole)


def test_prdc_of_one_distribution():
    got = prdc(*np.random.default_rng(7).normal(size=(2, 1000, 64)), k=5)
    assert got["precision"] == pytest.approx(0.718, abs=0.06) and got["recall"] == pytest.approx(0.742, abs=0.06)
    assert got["density"] == pytest.approx(1.0, abs=0.25) and got["coverage"] == pytest.approx(0.969, abs=0.03)
    got = prdc(*np.random.default_rng(7).normal(size=(2, 1000, 64)), k=3)
    assert got["precision"] == pytest.approx(0.602, abs=0.06) and got["recall"] == pytest.approx(0.622, abs=0.06)
    assert got["coverage"] == pytest.approx(1 - 2**-3, abs=0.03)


NAN = np.array([[0.0, 1.0], [np.nan, 1.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: frechet_from_features(X[:1], Y), "first features must be"),
        (lambda: frechet_from_features(X, np.ones((4, 3))), "one extractor"),
        (lambda: frechet_from_features(X, np.ones(4)), "second features must be"),
        (lambda: frechet_from_features(X, Y, weights_b=np.ones(3)), "weights must be"),
        (lambda: frechet_distance([0, 0], np.eye(3), [0, 0], np.eye(2)), "covariances"),
        (lambda: frechet_distance([0, 0], [[1, 2], [0, 1]], [0, 0], np.eye(2)), "symmetric"),
        (lambda: frechet_distance([0, 0], np.diag([1, -1]), [0, 0], np.eye(2)), "negative eigenvalue"),
        (lambda: frechet_distance([0, 0], np.eye(2), [0], np.eye(1)), "means"),
        (lambda: kernel_distance(X, Y, size=6), "2..5"),
        (lambda: kernel_distance(X, Y, subsets=0), "subsets"),
        (lambda: prdc(REAL, REAL, 4), "k must lie in 1..3"),
    ],
)
def test_bad_input_says_what_is_wrong(call, text):
    with pytest.raises(ContractError, match=text):
        call()


def test_nan_is_named():
    with pytest.raises(NonFinite, match="second features hold nan or inf in 1 rows, first row 1"):
        frechet_from_features(X, NAN)
    with pytest.raises(NonFinite, match=r"first image b\.png"):
        FeatureStats.of(NAN, names=["a.png", "b.png", "c.png"])
