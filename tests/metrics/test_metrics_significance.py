"""Tests, corrections, precision and ranks against statsmodels, scikit-posthocs, scipy and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scikit_posthocs
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as library_mcnemar
from statsmodels.stats.multitest import multipletests

from ltbench.errors import ContractError
from ltbench.metrics import (
    Precision,
    average_ranks,
    holm,
    mcnemar,
    seeds_can_show,
    sign_flip,
    smallest_wilcoxon_p,
)

P = st.floats(0, 1)


def test_mcnemar():
    y = np.zeros(20, dtype=int)
    a, b = y.copy(), y.copy()
    a[:9], b[9] = 1, 1
    assert mcnemar(y, a, b) == (1, 9, pytest.approx(2 * (1 + 10) / 2**10))
    assert mcnemar(y, a, b)[2] == pytest.approx(library_mcnemar([[10, 1], [9, 0]], exact=True).pvalue)
    assert mcnemar(y, y, y) == (0, 0, 1.0)


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_sign_flip_equals_all_sign_patterns(differences):
    sizes = np.abs(differences)
    sums = [abs(np.dot(signs, sizes)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    assert sign_flip(np.array(differences)) == pytest.approx(np.mean(np.array(sums) >= abs(sum(differences))))


def test_sign_flip_of_one_seed_is_mcnemar():
    rng = np.random.default_rng(0)
    y, a, b = (rng.integers(0, 3, 300) for _ in range(3))
    assert sign_flip((b == y).astype(int) - (a == y)) == pytest.approx(mcnemar(y, a, b)[2])
    assert sign_flip(np.array([], dtype=int)) == 1.0


@given(st.lists(P, min_size=1, max_size=12))
def test_holm_equals_the_library(values):
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_holm_leaves_out_what_is_undefined():
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert len(holm([])) == 0
    with pytest.raises(ContractError, match=r"0\.\.1"):
        holm([1.2])


@pytest.mark.parametrize("n", range(1, 10))
def test_smallest_p_of_the_exact_wilcoxon_test(n):
    assert smallest_wilcoxon_p(n) == pytest.approx(stats.wilcoxon(np.arange(1, n + 1), method="exact").pvalue)
    assert seeds_can_show(n) == (n >= 6)


def test_detectable_difference_has_its_power():
    precision = Precision(images=0.01, run=0.03, k=5)
    truth, rng, found = precision.detectable(), np.random.default_rng(0), 0
    for _ in range(4000):
        values = truth + rng.normal(0, 0.01) + rng.normal(0, 0.03, 5)
        seeds = values.var(ddof=1) / 5
        df = (seeds + 1e-4) ** 2 / (seeds**2 / 4)
        found += abs(values.mean()) > stats.t.ppf(0.975, df) * np.sqrt(seeds + 1e-4)
    assert found / 4000 == pytest.approx(0.8, abs=0.06)  # the sum of two t quantiles is an approximation


def test_more_seeds_help_until_the_images_forbid_it():
    precision = Precision(images=0.005, run=0.02, k=3)
    more = precision.more(0.03)
    assert more and precision.detectable(3 + more) <= 0.03 < precision.detectable(2 + more)
    assert precision.more(0.5) == 0 and precision.more(0.01) is None
    assert Precision(images=0.0, run=0.0, k=2).detectable() == 0.0
    alone = Precision(images=0.01, run=float("nan"), k=1)
    assert np.isnan(alone.detectable()) and alone.more(0.5) is None


def test_ranks_against_scipy_and_the_nemenyi_test():
    scores = np.round(np.random.default_rng(2).normal(size=(9, 5)) + np.arange(5), 0)  # with ties
    got = average_ranks(scores)
    assert got.ranks == pytest.approx(stats.rankdata(-scores, axis=1).mean(axis=0))
    assert got.friedman_p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    p = scikit_posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    far = np.abs(got.ranks[:, None] - got.ranks[None]) > got.critical
    assert (far == (p < 0.05)).all() and far.any() and not far.all()
    for clique in got.cliques:
        assert not far[np.ix_(clique, clique)].any()
    assert average_ranks(scores, higher_is_better=False).ranks == pytest.approx(6 - got.ranks)


def test_critical_difference_of_the_textbook():
    scores = np.random.default_rng(0).normal(size=(14, 4))
    assert average_ranks(scores).critical == pytest.approx(1.25, abs=0.005)  # Demsar 2006, section 3.2.2
    equal = average_ranks(np.ones((4, 3)))
    assert equal.friedman_p == 1.0 and equal.cliques == ((0, 1, 2),) and (equal.ranks == 2).all()
    alone = average_ranks([[0.3, 0.5]])
    assert alone.ranks.tolist() == [2, 1] and np.isnan(alone.critical) and alone.cliques == ()
    with pytest.raises(ContractError, match="finite scores"):
        average_ranks([[0.1, np.nan]])
