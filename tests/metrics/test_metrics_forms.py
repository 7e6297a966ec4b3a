"""Factored statistics, subsets at once, per-class forms and names: against closed forms, brute force and each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from ltbench.errors import ContractError, UserError
from ltbench.metrics import (
    FeatureStats,
    copy_ratio,
    frechet,
    frechet_from_features,
    frechet_infinity,
    kernel_distance,
    kernel_distance_subsets,
    measure_names,
    per_class,
    prdc,
    principal_axes,
)
from ltbench.metrics.naming import INCEPTION_2015


def rng(seed=0):
    return np.random.default_rng(seed)


def test_singular_values_eigenvalues_and_the_matrix_root_agree(monkeypatch):
    draw = rng()
    a, b = draw.normal(size=(900, 300)) * np.linspace(0.5, 2, 300), draw.normal(size=(700, 300)) + 0.1
    c1, c2, gap = np.cov(a.T), np.cov(b.T), a.mean(0) - b.mean(0)
    oracle = float(gap @ gap + np.trace(c1) + np.trace(c2) - 2 * np.trace(sqrtm(c1 @ c2)).real)
    with monkeypatch.context() as patch:
        patch.setattr("numpy.linalg.svd", None)
        by_eigenvalues = frechet_from_features(a, b)
    monkeypatch.setattr("ltbench.metrics.gaussians.GRAM_FROM", 10**9)
    by_singular_values = frechet_from_features(a, b)
    assert by_eigenvalues == pytest.approx(oracle, rel=1e-8) and by_singular_values == pytest.approx(oracle, rel=1e-8)


def test_ill_conditioned_features_fall_back_to_singular_values(monkeypatch):
    a = rng().normal(size=(600, 260)) * np.r_[np.ones(255), np.full(5, 1e-7)]
    monkeypatch.setattr("numpy.linalg.eigvalsh", lambda m: np.r_[1e-12, np.ones(len(m) - 1)])
    assert frechet_from_features(a, a) == pytest.approx(0, abs=1e-9)


def test_rank_deficient_input_has_its_analytic_value():
    draw = rng(1)
    basis = np.linalg.qr(draw.normal(size=(400, 2)))[0].T  # two orthonormal directions in 400 dimensions
    s = np.array([[-1.0], [0], [1]])
    angle = 0.3
    a, b = s @ basis[:1], 2 * s @ (np.cos(angle) * basis[:1] + np.sin(angle) * basis[1:])
    found = frechet(FeatureStats.of(a), FeatureStats.of(b))
    assert found.value == pytest.approx(1 + 4 - 2 * 2 * np.cos(angle), abs=1e-12)
    assert found.rank_deficient and (found.n1, found.n2) == (3, 3) and found.mean_term == pytest.approx(0, abs=1e-20)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 30), st.integers(1, 12))
def test_merged_statistics_are_those_of_the_union(seed, n, m, d):
    draw = rng(seed)
    a, b = draw.normal(size=(n, d)) + 5, draw.normal(size=(m, d)) * 3
    merged, whole = FeatureStats.of(a).merge(FeatureStats.of(b)), FeatureStats.of(np.concatenate([a, b]))
    assert merged.n == whole.n and merged.mean == pytest.approx(whole.mean)
    assert merged.factor.T @ merged.factor == pytest.approx(np.cov(np.concatenate([a, b]).T).reshape(d, d), abs=1e-9)
    assert len(merged.factor) <= max(d, 1) and frechet(merged, whole).value == pytest.approx(0, abs=1e-9)


def test_many_rows_are_merged_in_chunks(monkeypatch):
    features = rng().normal(size=(500, 4)) + 1000
    whole = FeatureStats.of(features)
    monkeypatch.setattr("ltbench.metrics.gaussians.CHUNK", 60)
    chunked = FeatureStats.of(features)
    assert len(chunked.factor) == 4 and frechet(chunked, whole).value == pytest.approx(0, abs=1e-9)


def test_extrapolation_takes_the_bias_away():
    draw = rng(3)
    real = FeatureStats.of(draw.normal(size=(60_000, 16)))
    fake = draw.normal(size=(1000, 16)) + 0.2  # truth: 16 * 0.04
    found = frechet_infinity(real, fake, draw)
    assert abs(found.value - 0.64) < abs(found.distances[-1] - 0.64) and len(found.sizes) == 15
    with pytest.raises(ContractError, match=r"2 different numbers in 2\.\.1000"):
        frechet_infinity(real, fake, draw, sizes=[500])


def test_the_extrapolation_of_the_sheet():
    """Single draws of the sheet, .974 and .672 at 1000 and 10 000 images, .636 extrapolated, against means of three."""
    real, found = FeatureStats(10**9, np.zeros(32), np.eye(32)), []
    for seed in range(3):
        draw = rng(seed)
        fake = draw.normal(size=(10_000, 32)) + np.sqrt(0.64 / 32)
        limit = frechet_infinity(real, fake, draw)
        found.append((frechet(real, FeatureStats.of(fake[:1000])).value, limit.distances[-1], limit.value))
    assert np.mean(found, axis=0) == pytest.approx([0.974, 0.672, 0.636], abs=0.04)


def test_all_subsets_at_once_equal_one_by_one():
    draw = rng(4)
    a, b = draw.normal(size=(70, 5)), draw.normal(size=(90, 5)) + 0.3
    got = kernel_distance_subsets(a, b, subsets=20, size=30, seed=7)
    same = rng(7)
    alone = []
    for _ in range(20):
        rows, others = same.choice(70, 30, replace=False), same.choice(90, 30, replace=False)
        alone.append(kernel_distance(a[rows], b[others]))
    assert got == pytest.approx((np.mean(alone), np.std(alone, ddof=1)), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 15), st.integers(4, 15), st.integers(1, 3))
def test_neighbour_measures_equal_brute_force(seed, n, m, k):
    draw = rng(seed)
    real, fake = draw.integers(0, 4, (n, 2)).astype(float), draw.integers(0, 4, (m, 2)).astype(float)  # with ties

    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - p) for j, p in enumerate(points) if j != i)[k - 1]

    hits = np.array([[np.linalg.norm(f - real[i]) < radius(real, i) for i in range(n)] for f in fake])
    back = np.array([[np.linalg.norm(r - fake[j]) < radius(fake, j) for j in range(m)] for r in real])
    assert prdc(real, fake, k) == pytest.approx(
        {
            "precision": hits.any(1).mean(),
            "recall": back.any(1).mean(),
            "density": hits.sum() / (m * k),
            "coverage": hits.any(0).mean(),
        }
    )


def test_mode_dropping_is_seen_by_coverage_recall_and_the_distances():
    draw = rng(5)
    centres = 6 * np.eye(4)
    real = np.concatenate([draw.normal(size=(60, 4)) + c for c in centres])
    found = []
    for modes in (4, 3, 2, 1):
        fake = np.concatenate([draw.normal(size=(240 // modes, 4)) + c for c in centres[:modes]])
        p = prdc(real, fake, 5)
        found.append([-p["coverage"], -p["recall"], frechet_from_features(real, fake), kernel_distance(real, fake)])
        assert p["precision"] > 0.85  # blind to dropped modes
    assert (np.diff(found, axis=0) > 0).all()


def test_copies_are_told_from_new_images():
    draw = rng(6)
    train, held, new = draw.normal(size=(3, 200, 8))
    assert copy_ratio(train, train[:100], held) == 0.0 == copy_ratio(train, train[:100])
    assert copy_ratio(train, new, held) == pytest.approx(1, abs=0.1) == pytest.approx(copy_ratio(train, new), abs=0.2)
    assert np.isnan(copy_ratio(np.zeros((3, 2)), np.ones((3, 2))))
    with pytest.raises(ContractError, match="2 training ones"):
        copy_ratio(train[:1], new)


def test_shuffled_labels_move_the_classes_and_not_the_whole():
    draw = rng(7)
    labels = np.repeat(np.arange(3), 60)
    real, fake = (draw.normal(size=(180, 4)) + 3 * labels[:, None] for _ in range(2))
    shuffled = draw.permutation(labels)

    def classes(y):
        return per_class(frechet_from_features, (real, labels), (fake, y), 3, least=20, rng=rng())

    right, wrong = classes(labels), classes(shuffled)
    assert wrong.macro > 5 * right.macro and right.macro < 4 * right.macro_floor
    assert right.n.tolist() == [30, 30, 30] and right.counted.tolist() == [0, 1, 2]
    few = per_class(frechet_from_features, (real, labels), (fake[:70], labels[:70]), 3, least=20, rng=rng())
    assert few.n.tolist() == [30, 10, 0] and few.macro == few.values[0] and np.isnan(few.values[1:]).all()
    with pytest.raises(ContractError, match="at least 2 images"):
        per_class(frechet_from_features, (real, labels), (fake, labels), 3, least=1, rng=rng())


def test_principal_axes_keep_what_varies_most():
    points = rng().normal(size=(200, 6)) * [9, 5, 1, 1, 1, 1]
    flat = principal_axes(points, 2)(points)
    assert np.cov(flat.T)[0, 1] == pytest.approx(0, abs=1e-9) and flat.var() > 0.9 * points.var(0).sum() / 2
    assert principal_axes(np.ones((4, 3)), 2)(np.ones((4, 3))).shape == (4, 1)


RESERVED = ["fid", "FID-mine", "kid", "inception-2015", "clean fid", "fid_mine", "FID2015", "myfid", "tf_fid", "fid-x"]
RESERVED += ["KID2015", "my_kid", "cleanfid", "FIDnet", "kid3", "torchFid"]


@pytest.mark.parametrize("name", RESERVED)
def test_the_reserved_name_needs_the_published_weights(name):
    assert measure_names(name, INCEPTION_2015) == ("fid", "kid")
    for weights in ("", "0" * 64, INCEPTION_2015[:8]):
        with pytest.raises(UserError, match="must not be called so"):
            measure_names(name, weights)


@pytest.mark.parametrize(
    "name", ["guide-small_cnn", "stand-in-1234", "randconv-s0-std", "pca64-pixels", "tv-resnet18-0f1d", "in-21k"]
)
def test_other_features_are_called_by_their_name(name):
    assert measure_names(name) == measure_names(name, "0" * 64) == ("fd", "kd")


def test_words_that_only_hold_the_letters_are_free():
    for name in ("confident", "torch-fidelity", "kidney", "Kidney_cnn", "identity", "skidding"):
        assert measure_names(name) == ("fd", "kd")
