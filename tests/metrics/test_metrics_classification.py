"""The vectors of the metrics sheet, scikit-learn as oracle, properties and bad input."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

import ltbench.metrics as m
from ltbench.errors import ContractError
from ltbench.metrics import scores

Y1, P1 = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 0, 0, 0, 0, 1, 1, 1, 0, 2, 1, 0]
Y2, P2 = [0, 0, 1, 1, 2, 2], [0, 3, 1, 1, 2, 0]
YA = [0, 0, 1, 1, 2, 2]
PA = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]]
YB, SB = np.array([0, 0, 1, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.8, 0.4, 0.4])
PB = np.stack([1 - SB, SB], axis=1)
SHEET_KEYS = """
accuracy balanced_accuracy macro_recall weighted_recall macro_precision macro_f1 macro_specificity mcc auc
many_accuracy weighted_f1 weighted_specificity quadratic_kappa medium_accuracy few_accuracy ece nll brier
per_class_recall confusion per_class_f1 per_class_precision n_absent warnings
""".split()  # noqa: SIM905


def close(value, expected):
    return np.testing.assert_allclose(value, expected, atol=5e-9, rtol=0)


def test_fixture_m1():
    got = m.classification(Y1, np.eye(4)[P1], [500, 60, 20, 5])
    close(got["confusion"], [[5, 1, 0, 0], [1, 2, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]])
    expected = {
        "accuracy": 0.66666667,
        "weighted_recall": 0.66666667,
        "per_class_recall": [0.83333333, 0.66666667, 0.5, 0],
        "per_class_precision": [0.71428571, 0.5, 1, 0],
        "per_class_f1": [0.76923077, 0.57142857, 0.66666667, 0],
        "macro_recall": 0.5,
        "balanced_accuracy": 0.5,
        "macro_precision": 0.55357143,
        "macro_f1": 0.50183150,
        "weighted_f1": 0.63858364,
        "macro_specificity": 0.86111111,
        "weighted_specificity": 0.77777778,
        "mcc": 0.46714184,
        "quadratic_kappa": 0.33333333,
        "many_accuracy": 0.83333333,
        "medium_accuracy": 0.58333333,
        "few_accuracy": 0.0,
        "n_absent": 0,
    }
    for key, value in expected.items():
        close(got[key], value)
    assert got["warnings"] == []
    close(m.macro_f1(np.array(Y1), np.array(P1), 4), 0.50183150)


def test_fixture_m2_absent_classes():
    got = m.classification(Y2, np.eye(5)[P2])
    close(
        [got[k] for k in ("macro_recall", "macro_f1", "macro_precision", "mcc")], [2 / 3, 0.54166667, 0.625, 0.56044854]
    )
    assert got["n_absent"] == 2 and "3, 4" in got["warnings"][0]
    assert np.isnan(got["per_class_recall"]).tolist() == [False, False, False, True, True]
    assert np.isnan(got["per_class_f1"]).tolist() == [False, False, False, False, True]
    assert math.isnan(got["many_accuracy"]) and math.isnan(got["few_accuracy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = list(range(5))
        close(got["macro_f1"], sk.f1_score(Y2, P2, labels=labels, average="macro", zero_division=np.nan))
        close(got["macro_recall"], sk.recall_score(Y2, P2, labels=labels, average="macro", zero_division=np.nan))


def test_result_is_complete_and_plain():
    assert set(SHEET_KEYS) == set(m.classification(YA, PA))
    got = m.classification(YA, PA)
    assert all(type(value) in (float, int, list) for value in got.values())


def test_auc_vectors():
    close(m.classification(YB, PB)["auc"], 0.66666667)
    close(m.classification(YA, PA)["auc"], 0.85416667)
    absent = m.classification([0, 0, 1, 1, 1, 1], PA)
    close(absent["auc"], 0.875)
    assert absent["n_absent"] == 1
    single = m.classification([1] * 6, PA)
    assert math.isnan(single["auc"]) and any("auc" in w for w in single["warnings"])


def test_the_confusion_of_the_histodiffusion_sheet():
    confusion = np.array([[50, 5, 5], [4, 20, 6], [1, 2, 7]])
    y, p = (np.repeat(side.ravel(), confusion.ravel()) for side in np.indices((3, 3)))
    got = m.classification(y, np.eye(3)[p])
    expected = {
        "accuracy": 0.77,
        "weighted_recall": 0.77,
        "macro_f1": 0.690440,
        "weighted_f1": 0.782265,
        "macro_recall": 0.733333,
        "macro_specificity": 0.884259,
        "weighted_specificity": 0.882778,
        "mcc": 0.603008,
    }
    assert {key: got[key] for key in expected} == pytest.approx(expected, abs=5e-7)


def test_nll_and_brier_vectors():
    multi, binary = m.classification(YA, PA), m.classification(YB, PB)
    close([multi["nll"], multi["brier"]], [0.78845557, 0.43333333])
    close([binary["nll"], binary["brier"]], [0.55271136, 0.38416667])
    assert m.classification([1], [[1.0, 0.0]])["nll"] == pytest.approx(-math.log(1e-12))


def test_ece_vectors():
    conf, correct = [0.95, 0.9, 0.62, 0.55, 0.3, 0.7, 0.8, 1.0], [1, 1, 0, 1, 0, 1, 0, 1]
    close(scores.expected_calibration_error(conf, correct, 10), 0.2525)
    close(scores.expected_calibration_error(conf, correct, 15), 0.3275)


def test_group_vectors():
    groups = m.class_groups(np.array([500, 101, 100, 20, 19, 3]), 6)
    assert {k: v.tolist() for k, v in groups.items()} == {"many": [0, 1], "medium": [2, 3], "few": [4, 5]}
    ranked = m.class_groups(np.array([5, 9, 9, 1]), 4, {"scheme": "rank", "sizes": [1, 2, 1]})
    assert {k: v.tolist() for k, v in ranked.items()} == {"many": [1], "medium": [2, 0], "few": [3]}
    preset = m.class_groups(np.arange(8), 8, "breast_lt8")
    assert [len(v) for v in preset.values()] == [2, 4, 2]
    got = m.classification(Y1, np.eye(4)[P1], groups={"many": [0], "medium": [1, 2], "few": [3]})
    close([got["many_accuracy"], got["medium_accuracy"], got["few_accuracy"]], [5 / 6, 7 / 12, 0])
    moved = m.classification(Y1, np.eye(4)[P1], [500, 60, 20, 5], {"scheme": "thresholds", "many": 50, "few": 10})
    close(moved["many_accuracy"], 0.75)


def test_empty_groups_are_nan_with_a_warning():
    got = m.classification(YA, PA, [500, 400, 300])
    assert math.isnan(got["few_accuracy"]) and math.isnan(got["medium_accuracy"])
    assert sum("has no class" in w for w in got["warnings"]) == 2


def test_imbalance_ratio():
    close(m.imbalance_ratio(np.array([6705, 115, 300])), 58.30434783)
    with pytest.warns(UserWarning, match="infinite"):
        assert m.imbalance_ratio(np.array([3, 0])) == math.inf


def test_constant_predictor_and_single_class():
    constant = m.classification([0, 1, 2], np.eye(3)[[1, 1, 1]])
    assert constant["mcc"] == 0.0 and constant["quadratic_kappa"] == pytest.approx(0.0)
    single = m.classification([1, 1], np.eye(3)[[1, 1]])
    assert single["mcc"] == 0.0 and math.isnan(single["quadratic_kappa"])
    assert any("specificity" in w for w in single["warnings"])
    close(single["macro_specificity"], 1.0)


def test_empty_split_is_undefined_and_no_error():
    got = m.classification(np.zeros(0, np.int64), np.zeros((0, 3)), [200, 50, 5])
    assert all(
        math.isnan(got[k]) for k in ("accuracy", "macro_f1", "mcc", "auc", "ece", "nll", "brier", "few_accuracy")
    )
    assert "no image" in got["warnings"][0]


def test_argmax_ties_go_to_the_lowest_index():
    assert m.classification([0, 1], [[0.5, 0.5], [0.5, 0.5]])["confusion"] == [[1, 0], [1, 0]]


def test_float32_rounding_keeps_ties():
    probs = np.array([[0.3, 0.7], [0.3, 0.70000005]], dtype=np.float32)
    probs[:, 1] = 0.7
    assert m.classification([0, 1], probs)["auc"] == 0.5


labels = st.integers(2, 6).flatmap(
    lambda c: st.tuples(
        st.just(c), st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=2, max_size=60)
    )
)


@settings(max_examples=150, deadline=None)
@given(labels)
def test_scikit_learn_agrees_on_random_labels(case):
    c, pairs = case
    y, p = np.array(pairs).T
    got = m.classification(y, np.eye(c)[p])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = list(range(c))
        close(got["accuracy"], sk.accuracy_score(y, p))
        close(got["macro_f1"], sk.f1_score(y, p, labels=names, average="macro", zero_division=np.nan))
        close(got["balanced_accuracy"], sk.recall_score(y, p, labels=names, average="macro", zero_division=np.nan))
        close(got["mcc"], sk.matthews_corrcoef(y, p))
        close(got["confusion"], sk.confusion_matrix(y, p, labels=names))
        if not math.isnan(got["quadratic_kappa"]):
            close(got["quadratic_kappa"], sk.cohen_kappa_score(y, p, labels=names, weights="quadratic"))
    assert got["weighted_recall"] == got["accuracy"]
    assert got["macro_f1"] == m.macro_f1(y, p, c)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 40))
def test_scores_agree_with_scikit_learn_and_ignore_image_order(seed, c, extra):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(c), rng.integers(0, c, extra)])
    probs = rng.dirichlet(np.ones(c), len(y)).round(2) + 1e-3
    probs /= probs.sum(axis=1, keepdims=True)
    got = m.classification(y, probs, rng.integers(0, 200, c))
    oracle = sk.roc_auc_score(y, probs[:, 1]) if c == 2 else sk.roc_auc_score(y, probs, multi_class="ovr")
    close(got["auc"], oracle)
    close(got["nll"], sk.log_loss(y, probs, labels=list(range(c))))
    order = rng.permutation(len(y))
    again = m.classification(y[order], probs[order])
    assert all(again[k] == pytest.approx(got[k], abs=1e-12) for k in ("macro_f1", "auc", "ece", "nll", "brier", "mcc"))
    assert 0 <= got["ece"] <= 1 and 0 <= got["brier"] <= 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_torchmetrics_agrees(seed):
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_matthews_corrcoef

    rng = np.random.default_rng(seed)
    y, probs = rng.integers(0, 4, 80), rng.dirichlet(np.ones(4), 80)
    got, p, t = m.classification(y, probs), torch.tensor(probs), torch.tensor(y)
    assert got["ece"] == pytest.approx(float(multiclass_calibration_error(p, t, 4, n_bins=15)), abs=1e-5)
    assert got["mcc"] == pytest.approx(float(multiclass_matthews_corrcoef(p.argmax(1), t, 4)), abs=1e-5)


GOOD = np.full((2, 3), 1 / 3)


@pytest.mark.parametrize(
    ("y", "probs", "counts", "groups", "text"),
    [
        ([0, 1], np.ones(2), None, None, "shape"),
        ([0, 1], np.ones((2, 1)), None, None, "C >= 2"),
        ([0, 1, 2], GOOD, None, None, "y_true must have shape"),
        ([0, 3], GOOD, None, None, "0..2"),
        ([0, -1], GOOD, None, None, "0..2"),
        ([0.0, 1.0], GOOD, None, None, "integers"),
        ([0, 1], GOOD * 2, None, None, "not logits"),
        ([0, 1], [[1.5, -0.5, 0.0], [1, 0, 0]], None, None, ">= 0"),
        ([0, 1], [[np.nan, 0.5, 0.5], [1, 0, 0]], None, None, "nan"),
        ([0, 1], [["a", "b", "c"]] * 2, None, None, "numbers"),
        ([0, 1], GOOD, [1, 2], None, "train_counts"),
        ([0, 1], GOOD, [1, 2, -3], None, ">= 0"),
        ([0, 1], GOOD, [1, 2, 3], {"scheme": "rank", "sizes": [1, 1, 2]}, "sum to 3"),
        ([0, 1], GOOD, [1, 2, 3], {"scheme": "terciles"}, "terciles"),
        ([0, 1], GOOD, [1, 2, 3], "nope", "presets"),
        ([0, 1], GOOD, None, {"many": [0], "medium": [0], "few": [1]}, "at most once"),
        ([0, 1], GOOD, None, {"many": [0], "some": [1]}, "unknown group"),
        ([0, 1], GOOD, [1, 2, 3], {"many": 5, "few": 50}, "few <= many"),
        ([0, 1], GOOD, [1, 2, 3], {"many": "a", "few": 1}, "few <= many"),
        ([0, 1], GOOD, [1, 2, 3], {"manny": 3}, "unknown group 'manny'; thresholds groups have many, few"),
        ([0, 1], GOOD, [1, 2, 3], 5, "a mapping or the name of a preset, got 5"),
        ([0, 1], GOOD, [1, 2, 3], [1, 2], "a mapping or the name of a preset"),
        ([0, 1], GOOD, [1, 2, 3], {"scheme": ["rank"]}, "unknown group scheme"),
        ([0, 1], GOOD, [1, 2, 3], {"scheme": "rank", "sizes": 5}, "three sizes"),
        ([0, 1], GOOD, [1, 2, 3], {"scheme": "rank", "sizes": [1, "x", 1]}, "whole numbers"),
        ([0, 1], GOOD, None, {"many": [0.5, 1.7]}, "whole numbers"),
        ([0, 1], GOOD, None, {"many": ["a"]}, "whole numbers"),
    ],
)
def test_bad_input_says_what_is_wrong(y, probs, counts, groups, text):
    with pytest.raises(ContractError, match=text):
        m.classification(y, probs, counts, groups)


def test_macro_f1_rejects_labels_out_of_range():
    with pytest.raises(ContractError, match=r"0\.\.1"):
        m.macro_f1(np.array([0, 1]), np.array([0, 2]), 2)


def test_import_is_light():
    code = "import sys, ltbench.metrics; print([n for n in ('torch', 'pandas', 'sklearn') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
