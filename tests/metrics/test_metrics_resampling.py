"""Paired bootstrap and McNemar's test."""

from __future__ import annotations

import numpy as np
import pytest

from ltbench.errors import ContractError
from ltbench.metrics import bootstrap_difference, macro_f1, mcnemar


def noisy(y, rate, rng, classes=3):
    return np.where(rng.random(len(y)) < rate, rng.integers(0, classes, len(y)), y)


def test_equal_sides_differ_by_exactly_nothing():
    y = np.arange(30) % 3
    assert set(bootstrap_difference([y], [y], [y], 3).values()) == {(0.0, 0.0, 0.0)}


def test_point_is_the_difference_and_the_interval_holds_it():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    a, b = noisy(y, 0.6, rng), noisy(y, 0.2, rng)
    point, low, high = bootstrap_difference([y], [a], [b], 3)["macro_f1"]
    assert point == pytest.approx(macro_f1(y, b, 3) - macro_f1(y, a, 3))
    assert 0 < low < point < high
    assert bootstrap_difference([y], [a], [b], 3) == bootstrap_difference([y], [a], [b], 3)


def test_interval_equals_that_of_drawing_images():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 150)
    a, b = noisy(y, 0.5, rng), noisy(y, 0.3, rng)
    rows = rng.integers(0, 150, (3000, 150))
    draws = [macro_f1(y[r], b[r], 3) - macro_f1(y[r], a[r], 3) for r in rows]
    _, low, high = bootstrap_difference([y], [a], [b], 3, resamples=3000)["macro_f1"]
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.012)


def test_interval_covers_the_truth():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(100):
        y = rng.integers(0, 3, 200)
        _, low, high = bootstrap_difference([y], [noisy(y, 0.4, rng)], [noisy(y, 0.4, rng)], 3, resamples=300)["mcc"]
        hits += low <= 0 <= high
    assert hits >= 88


def test_more_runs_narrow_the_interval():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 200)
    sides = [(noisy(y, 0.5, rng), noisy(y, 0.3, rng)) for _ in range(5)]
    one = bootstrap_difference([y], [sides[0][0]], [sides[0][1]], 3)["macro_f1"]
    five = bootstrap_difference([y] * 5, [s[0] for s in sides], [s[1] for s in sides], 3)["macro_f1"]
    assert five[2] - five[1] < one[2] - one[1]


def test_mcnemar():
    y = np.zeros(20, dtype=int)
    a, b = y.copy(), y.copy()
    a[:9], b[9] = 1, 1
    assert mcnemar(y, a, b) == (1, 9, pytest.approx(2 * (1 + 10) / 2**10))
    assert mcnemar(y, y, y) == (0, 0, 1.0)


def test_unpaired_runs_are_refused():
    with pytest.raises(ContractError, match="paired"):
        bootstrap_difference([np.zeros(2, int)], [], [], 2)
