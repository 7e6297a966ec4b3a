"""Intervals against statsmodels, closed forms and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ltbench.errors import ContractError
from ltbench.metrics import bootstrap_p, hierarchical_draws, interval, jeffreys, shared_draws
from ltbench.metrics.intervals import split_error


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


def constant(values):
    """Draws of seeds whose images make no difference, (k, R)."""
    return np.tile(np.asarray(values, float)[:, None], 1000)


def test_one_seed_of_one_split_is_the_image_bootstrap():
    draws = np.random.default_rng(0).normal(size=(1, 500))
    assert (hierarchical_draws([np.array([0.1])], [draws], np.random.default_rng(1)) == draws[0]).all()


def test_without_image_noise_seeds_give_the_t_interval():
    values = np.array([0.4, 0.5, 0.45, 0.7])
    drawn = hierarchical_draws([values], [constant(values)], np.random.default_rng(0))
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert interval(drawn) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seeds", [1, 3])
def test_several_splits_give_the_t_interval_of_their_means(seeds):
    rng = np.random.default_rng(seeds)
    points = [rng.normal(v, 0.001, seeds) for v in (0.2, 0.3, 0.25, 0.5, 0.4)]
    images = [p[:, None] + rng.normal(0, 0.001, (seeds, 500)) for p in points]
    drawn = hierarchical_draws(points, images, rng)
    means = np.array([p.mean() for p in points])
    assert interval(drawn) == pytest.approx(stats.t.interval(0.95, 4, means.mean(), stats.sem(means)), abs=1e-3)
    assert split_error(points, images) == pytest.approx(stats.sem(means))


def test_splits_with_one_and_the_same_mean_have_the_error_of_their_images_and_seeds():
    rng = np.random.default_rng(0)
    values = np.array([0.4, 0.6])
    images = [np.tile(rng.normal(0.5, 0.1, 20000), (2, 1)) for _ in range(4)]
    within = 0.1**2 + values.var(ddof=1) / 2
    assert split_error([values] * 4, images) == pytest.approx(np.sqrt(within / 4), rel=0.01)


@pytest.mark.parametrize(("splits", "seeds"), [(2, 1), (3, 1), (5, 1), (2, 3), (3, 3), (5, 3)])
@pytest.mark.parametrize("of_split", [0.0, 0.01, 0.06])
def test_splits_keep_their_level(splits, seeds, of_split):
    """sd: `of_split`, 0.02 of seeds, 0.02 of images."""
    rng, found = np.random.default_rng(splits), 0
    for _ in range(600):
        shared = rng.normal(0, np.hypot(0.02, of_split), splits)
        points = [s + rng.normal(0, 0.02, seeds) for s in shared]
        images = [p[:, None] + rng.normal(0, 0.02, 300) for p in points]
        found += bootstrap_p(hierarchical_draws(points, images, rng)) < 0.05
    assert 0.025 <= found / 600 <= 0.08  # three deviations about 5 %


@pytest.mark.parametrize("k", [2, 3, 5])
def test_what_seeds_share_is_the_textbook_estimate(k):
    """Draws = image effect + a seed's own: the variance of the mean less the interaction over k, Searle's estimate."""
    rng = np.random.default_rng(k)
    images = rng.normal(0, 0.03, 4000) + rng.normal(0, 0.05, (k, 4000))
    between = np.cov(images, bias=True)[~np.eye(k, dtype=bool)].mean()  # what two seeds share is their covariance
    drawn = shared_draws(images)
    assert drawn.var() == pytest.approx(between, rel=1e-9) == pytest.approx(0.03**2, rel=0.2)
    assert drawn.mean() == pytest.approx(images.mean())


def test_seeds_that_share_nothing_leave_nothing():
    images = np.stack([np.arange(8.0), -np.arange(8.0)])
    assert (shared_draws(images) == images.mean()).all()
    opposed = np.stack([np.arange(8.0), -0.5 * np.arange(8.0)])  # an estimate below zero is zero
    assert shared_draws(opposed) == pytest.approx(opposed.mean())


@pytest.mark.parametrize("own", [0.0, 0.04])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_and_images_together_cover_the_truth(seeds, own):
    """own: sd of what the images do to each seed alone; it must not count twice."""
    rng, hits = np.random.default_rng(seeds), 0
    for _ in range(400):
        values = rng.normal(0, 0.02) + rng.normal(0, np.hypot(0.03, own), seeds)
        draws = values[:, None] + rng.normal(0, 0.02, 800) + rng.normal(0, own, (seeds, 800))
        low, high = interval(hierarchical_draws([values], [draws], rng))
        hits += low <= 0 <= high
    assert 0.92 <= hits / 400 <= 0.995  # Behrens-Fisher: a little wide for few seeds


def test_forty_methods_can_be_separated():
    values = np.array([0.30, 0.31, 0.29, 0.30, 0.31])
    drawn = hierarchical_draws([values], [constant(values)], np.random.default_rng(0))
    assert 40 * bootstrap_p(drawn) < 0.05


def test_values_without_draws_are_refused():
    with pytest.raises(ContractError, match="for each value of each split"):
        hierarchical_draws([np.ones(2)], [], np.random.default_rng(0))
    with pytest.raises(ContractError, match="for each value of each split"):
        hierarchical_draws([np.ones(2)], [np.ones((1, 9))], np.random.default_rng(0))
    with pytest.raises(ContractError, match="at least one split"):
        hierarchical_draws([], [], np.random.default_rng(0))
