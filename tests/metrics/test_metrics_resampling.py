"""Resampled images: the law of the draws, and every metric of them against the plain one on the images drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ltbench.errors import ContractError
from ltbench.metrics import (
    bootstrap_metrics,
    bootstrap_p,
    classification,
    confusion_intervals,
    image_weights,
    interval,
    macro_f1,
    multinomial_confusions,
    resampled_confusions,
)
from ltbench.metrics.classification import confusion_matrix
from ltbench.metrics.weighted import weighted_auc


def noisy(y, rate, rng, classes=3):
    return np.where(rng.random(len(y)) < rate, rng.integers(0, classes, len(y)), y)


def table(rng, n=150, classes=4, digits=1):
    """Labels and probabilities with many equal scores."""
    y = rng.integers(0, classes, n)
    probs = np.round(rng.dirichlet(np.ones(classes), n) + 0.3 * np.eye(classes)[y], digits) + 0.05
    return y, probs / probs.sum(axis=1, keepdims=True)


def test_weights_count_draws_with_replacement():
    weights = image_weights(7, 4000, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)
    assert weights.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.1)
    with pytest.raises(ContractError, match="at least one image"):
        image_weights(0, 5, np.random.default_rng(0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_every_metric_equals_the_plain_one_on_the_drawn_images(seed, classes):
    y, probs = table(np.random.default_rng(seed), n=40, classes=classes)
    drawn = bootstrap_metrics(y, probs, resamples=3, seed=seed)
    for r, weights in enumerate(image_weights(40, 3, np.random.default_rng(seed)).astype(int)):
        rows = np.repeat(np.arange(40), weights)
        plain = classification(y[rows], probs[rows])
        for key in drawn:
            assert drawn[key][r] == pytest.approx(plain[key], nan_ok=True, abs=1e-6), key


@pytest.mark.parametrize("classes", [2, 5])
def test_auc_equals_the_library(classes):
    rng = np.random.default_rng(3)
    y, probs = table(rng, n=200, classes=classes)
    weights = image_weights(200, 10, rng)
    for value, w in zip(weighted_auc(y, probs, weights), weights.astype(int), strict=True):
        rows = np.repeat(np.arange(200), w)
        score = probs[rows, 1] if classes == 2 else probs[rows]
        assert value == pytest.approx(roc_auc_score(y[rows], score, multi_class="ovr"), abs=1e-9)


def test_auc_of_a_class_that_no_draw_holds_is_left_out():
    y, probs = np.array([0, 0, 1, 2]), np.eye(3)[[0, 1, 1, 2]]
    weights = np.array([[2, 1, 1, 0], [4, 0, 0, 0]], dtype=np.float32)
    rows = np.repeat(np.arange(4), weights[0].astype(int))
    got = weighted_auc(y, probs, weights)
    assert got[0] == pytest.approx(classification(y[rows], probs[rows])["auc"]) and np.isnan(got[1])


def test_multinomials_have_the_law_of_drawing_images():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 150)
    pred = noisy(y, 0.4, rng)
    matrix = confusion_matrix(y, pred, 3)
    low, high = confusion_intervals(matrix, ["macro_f1"], resamples=6000)["macro_f1"]
    rows = rng.integers(0, 150, (6000, 150))
    draws = [macro_f1(y[r], pred[r], 3) for r in rows]
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.006)
    drawn = multinomial_confusions(matrix, 5000, rng)
    assert (drawn.sum(axis=(1, 2)) == 150).all() and drawn.mean(axis=0) == pytest.approx(matrix, abs=0.5)
    images = resampled_confusions(y, pred, 3, image_weights(150, 5000, rng))
    assert images.mean(axis=0) == pytest.approx(matrix, abs=0.5)
    assert images.var(axis=0) == pytest.approx(drawn.var(axis=0), rel=0.12, abs=0.1)
    with pytest.raises(ContractError, match="without images"):
        multinomial_confusions(np.zeros((2, 2)), 5, rng)


def test_large_splits_are_drawn_in_blocks(monkeypatch):
    y, probs = table(np.random.default_rng(5), n=50)
    whole = bootstrap_metrics(y, probs, resamples=20)
    monkeypatch.setattr("ltbench.metrics.resampling.BLOCK", 300)
    parts = bootstrap_metrics(y, probs, resamples=20)
    assert all(parts[key] == pytest.approx(whole[key], nan_ok=True) for key in whole)


def test_interval_and_p_leave_out_what_is_undefined():
    draws = np.array([*np.linspace(0, 1, 101), np.nan])
    assert interval(draws) == pytest.approx((0.025, 0.975))
    assert np.isnan(interval(np.full(3, np.nan))).all() and np.isnan(bootstrap_p(np.full(3, np.nan)))


def test_p_of_a_bootstrap():
    assert bootstrap_p(np.zeros(99)) == 1.0
    assert bootstrap_p(np.ones(99)) == pytest.approx(0.02)
    assert bootstrap_p(np.r_[-np.ones(9), np.ones(90)]) == pytest.approx(0.2)
    draws = np.random.default_rng(0).normal(1.0, 0.5, 20000)
    assert bootstrap_p(draws) == bootstrap_p(-draws) == pytest.approx(0.0455, abs=0.006)  # of the normal law at 2 sd
