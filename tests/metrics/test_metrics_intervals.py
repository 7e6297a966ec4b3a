"""Intervals against statsmodels, closed forms and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ltbench.errors import ContractError
from ltbench.metrics import hierarchical_draws, interval, jeffreys


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_jeffreys_equals_the_library_inside_the_range(counts):
    hits, n = counts
    low, high = jeffreys(hits, n)
    expected = proportion_confint(hits, n, method="jeffreys")
    assert low == (0.0 if hits == 0 else pytest.approx(expected[0], abs=1e-9))
    assert high == (1.0 if hits == n else pytest.approx(expected[1], abs=1e-9))
    assert low <= hits / n <= high
    assert jeffreys(n - hits, n) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_jeffreys_of_arrays_fractions_and_nothing():
    low, high = jeffreys([0, 2.5, 0], [4, 4, 0])
    assert low[0] == 0 and low[1] == pytest.approx(stats.beta.ppf(0.025, 3, 2)) and np.isnan([low[2], high[2]]).all()
    with pytest.raises(ContractError, match=r"hits must lie in 0\.\.n"):
        jeffreys(5, 4)


def test_one_seed_of_one_split_is_the_image_bootstrap():
    draws = np.random.default_rng(0).normal(size=500)
    assert (hierarchical_draws([np.array([0.1])], [draws], np.random.default_rng(1)) == draws).all()


def test_without_image_noise_seeds_give_the_t_interval():
    values = np.array([0.4, 0.5, 0.45, 0.7])
    drawn = hierarchical_draws([values], [np.full(40000, values.mean())], np.random.default_rng(0))
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert interval(drawn) == pytest.approx(expected, abs=1e-3)


def test_without_other_noise_splits_give_the_t_interval():
    points = [np.array([v]) for v in (0.2, 0.3, 0.25, 0.5, 0.4)]
    drawn = hierarchical_draws(points, [np.full(40000, p[0]) for p in points], np.random.default_rng(0))
    values = np.concatenate(points)
    assert interval(drawn) == pytest.approx(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)), abs=1e-3)


def test_splits_that_agree_narrow_the_interval():
    rng = np.random.default_rng(0)
    one = hierarchical_draws([np.array([0.5])], [rng.normal(0.5, 0.1, 20000)], rng)
    four = hierarchical_draws([np.array([0.5])] * 4, [rng.normal(0.5, 0.1, 20000) for _ in range(4)], rng)
    assert np.std(four) == pytest.approx(np.std(one) / 2, rel=0.03)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_and_images_together_cover_the_truth(seeds):
    rng, hits = np.random.default_rng(seeds), 0
    for _ in range(400):
        image = rng.normal(0, 0.02)
        values = image + rng.normal(0, 0.03, seeds)
        low, high = interval(hierarchical_draws([values], [rng.normal(values.mean(), 0.02, 800)], rng))
        hits += low <= 0 <= high
    assert hits / 400 >= 0.92  # Behrens-Fisher: a little wide for few seeds


def test_values_without_draws_are_refused():
    with pytest.raises(ContractError, match="for each split"):
        hierarchical_draws([np.ones(2)], [], np.random.default_rng(0))
