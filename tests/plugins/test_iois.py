"""Accuracy-adaptive counts: the vectors and properties of the IOIS sheet; the control; the recipes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ltbench_iois import methods
from ltbench_iois.accuracy_adaptive import adaptive_shares
from ltbench_iois.copies import RealCopies

import ltbench
from ltbench.errors import ContractError, DataError, UserError
from ltbench.interfaces import ImageTable


def adaptive(total: Any, classes: int, **options: Any) -> Any:
    sampler = ltbench.build("sampler", "accuracy-adaptive", total=total, **options)
    sampler.setup(class_counts=np.full(classes, 20), total_epochs=5)
    return sampler


def feedback(accuracy: Any = None, epoch: int = 1, pool: int = 0, key: str = "train_accuracy") -> dict[str, Any]:
    entry = {} if accuracy is None else {key: np.asarray(accuracy, dtype=float)}
    return {"epoch": epoch, "pool_counts": np.array([pool]), "score": math.nan, **entry}


VECTORS = [
    ([0.5] * 7, 2000, [285] * 7, [286] * 5 + [285] * 2),
    (
        [0.95, 0.99, 0.90, 0.80, 0.92, 0.60, 0.88],
        2000,
        [259, 249, 273, 301, 267, 368, 278],
        [260, 249, 273, 302, 268, 369, 279],
    ),
    ([0, 1, 1, 1, 1, 1, 1], 2000, [623] + [229] * 6, [624, 230, 230] + [229] * 4),
    ([0.98, 0.55, 0.85, 0.30, 0.60], 600, [84, 129, 96, 166, 123], [84, 130, 96, 167, 123]),
    ([0.2, 0.8, 0.5], 10, [4, 2, 3], [4, 3, 3]),
    ([1, 1, 1], 10, [3, 3, 3], [4, 3, 3]),
    ([0, 0, 0, 0], 3, [0, 0, 0, 0], [1, 1, 1, 0]),
    ([0.9, 0.1], 1, [0, 0], [0, 1]),
    ([0.25, 0.75], 7, [4, 2], [4, 3]),
    ([0.9, 0.1], 0, [0, 0], [0, 0]),
    ([0.9, 0.5, 0.1], 10, [2, 3, 4], [2, 3, 5]),
]


@pytest.mark.parametrize(("accuracy", "total", "truncated", "exact"), VECTORS)
def test_counts(accuracy: list[float], total: int, truncated: list[int], exact: list[int]) -> None:
    assert adaptive(total, len(accuracy)).synthetic_counts(feedback(accuracy)).tolist() == exact
    short = adaptive(total, len(accuracy), rounding="truncate").synthetic_counts(feedback(accuracy))
    assert short.tolist() == truncated


@pytest.mark.parametrize(
    ("temperature", "counts"),
    [
        (0.25, [175, 150, 214, 320, 198, 711, 232]),
        (0.1, [45, 30, 75, 202, 61, 1496, 91]),
        ("inf", [286] * 5 + [285] * 2),
        (math.inf, [286] * 5 + [285] * 2),
    ],
)
def test_temperature(temperature: Any, counts: list[int]) -> None:
    sampler = adaptive(2000, 7, temperature=temperature)
    assert sampler.synthetic_counts(feedback(VECTORS[1][0])).tolist() == counts


def test_shares() -> None:
    shares = adaptive_shares(np.array([0.2, 0.8, 0.5])) * 10
    assert shares == pytest.approx([4.3675, 2.3969, 3.2355], abs=5e-5)
    assert adaptive_shares(np.array([0.9, 0.5, 0.1]), 0.5) == pytest.approx(
        [0.12227071, 0.27211848, 0.60561081], abs=5e-9
    )


accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=30)


@given(accuracies, st.integers(0, 4000))
def test_counts_sum_to_the_total(accuracy: list[float], total: int) -> None:
    assert adaptive(total, len(accuracy)).synthetic_counts(feedback(accuracy)).sum() == total


@given(accuracies, st.randoms(use_true_random=False))
def test_shares_follow_a_permutation(accuracy: list[float], random: Any) -> None:
    order = list(range(len(accuracy)))
    random.shuffle(order)
    values = np.array(accuracy)
    assert adaptive_shares(values[order]) == pytest.approx(adaptive_shares(values)[order])


@given(accuracies, st.floats(0, 1), st.data())
def test_a_lower_accuracy_never_lowers_the_share(accuracy: list[float], factor: float, data: Any) -> None:
    k = data.draw(st.integers(0, len(accuracy) - 1))
    worse = np.array(accuracy)
    worse[k] *= factor
    assert adaptive_shares(worse)[k] >= adaptive_shares(np.array(accuracy))[k] - 1e-12


@given(accuracies)
def test_shares_differ_by_at_most_e(accuracy: list[float]) -> None:
    shares = adaptive_shares(np.array(accuracy))
    assert shares.max() / shares.min() <= math.e * (1 + 1e-9)


def test_first_epoch_is_real_only() -> None:
    assert adaptive(10, 3).synthetic_counts(feedback(epoch=0)) is None
    assert adaptive(10, 3, temperature="inf").synthetic_counts(feedback(epoch=0)) is None


def test_pools_are_renewed_every_so_many_epochs() -> None:
    sampler = adaptive(10, 2, generate_every=3)
    made = [sampler.synthetic_counts(feedback([0.5, 0.5], epoch=e, pool=10 * (e > 1))) is not None for e in range(1, 8)]
    assert made == [True, False, False, True, False, False, True]
    assert sampler.synthetic_counts(feedback([0.5, 0.5], epoch=3, pool=0)) is not None


def test_needs_follow_the_options() -> None:
    assert adaptive(10, 2).needs == {"train_accuracy"}
    assert adaptive(10, 2, accuracy="running_accuracy").needs == {"running_accuracy"}
    assert adaptive(10, 2, temperature="inf").needs == frozenset()
    assert adaptive(0, 2).needs == frozenset()
    other = adaptive(10, 2, accuracy="union_accuracy")
    assert other.synthetic_counts(feedback([0, 1], key="union_accuracy")).tolist() == [7, 3]


@pytest.mark.parametrize(
    ("accuracy", "text"),
    [
        ([0.5, 80.0, 1], "class 1 is 80.*percent"),
        ([0.5, 0.5, -0.1], "class 2 is -0.1"),
        ([math.nan, 1, 1], "class 0 is nan"),
        ([1, 1], "shape"),
    ],
)
def test_accuracy_that_is_no_fraction(accuracy: list[float], text: str) -> None:
    with pytest.raises(ContractError, match=text):
        adaptive(10, 3).synthetic_counts(feedback(accuracy))


@pytest.mark.parametrize(
    "options",
    [
        {"total": -1},
        {"total": 0.5},
        {"total": True},
        {"total": None},
        {"total": 5, "temperature": 0},
        {"total": 5, "temperature": "hot"},
        {"total": 5, "temperature": math.nan},
        {"total": 5, "temperature": True},
        {"total": 5, "generate_every": 0},
        {"total": 5, "accuracy": "test_accuracy"},
        {"total": 5, "on_empty_class": "ignore"},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"sampler\."):
        ltbench.build("sampler", "accuracy-adaptive", **options)


def test_one_class_and_empty_classes() -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        adaptive(5, 1)
    with pytest.raises(DataError, match="class 1 has no training image"):
        sampler = ltbench.build("sampler", "accuracy-adaptive", total=5)
        sampler.setup(class_counts=np.array([3, 0, 3]), total_epochs=2)
    skipping = ltbench.build("sampler", "accuracy-adaptive", total=5, on_empty_class="skip")
    skipping.setup(class_counts=np.array([3, 0, 3]), total_epochs=2)
    assert skipping.synthetic_counts(feedback([0.5, math.nan, 0.5])).tolist() == [3, 0, 2]


def table(labels: list[int]) -> ImageTable:
    n = len(labels)
    images = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2, 1)
    ids = np.arange(n).astype(str)
    return ImageTable(images, np.array(labels, dtype=np.int64), ids, ids)


def copies(labels: list[int], classes: int) -> RealCopies:
    generator = ltbench.build("generator", "real-copies")
    task = SimpleNamespace(num_classes=classes, class_names=tuple("ab"[:classes]))
    generator.fit(table(labels), SimpleNamespace(task=task))
    return generator


def test_copies_cycle_without_replacement() -> None:
    generator = copies([0, 0, 0, 1, 1], 2)
    images, labels = generator.sample(np.array([7, 1]), guide=None, rng=np.random.default_rng(0))
    assert np.bincount(labels).tolist() == [7, 1]
    assert sorted(np.bincount(generator.rows, minlength=5)[:3]) == [2, 2, 3]
    assert np.array_equal(images, table([0, 0, 0, 1, 1]).images[generator.rows])
    assert generator.notes() == {"distinct": 4.0}


def test_copies_of_an_empty_class() -> None:
    generator = copies([0, 0], 2)
    assert len(generator.sample(np.array([0, 0]), guide=None, rng=np.random.default_rng(0))[1]) == 0
    with pytest.raises(DataError, match="class 'b' has no training image"):
        generator.sample(np.array([0, 1]), guide=None, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", ["IOIS", "IOIS_XT", "IOIS_OIS", "IOIS_OFFLINE", "IOIS_UNGUIDED", "OVERSAMPLE_MATCHED"])
def test_methods_build(name: str) -> None:
    method = getattr(methods, name)
    assert set(method["fidelity"].values()) <= {"paper", "code", "assumed", "control"}
    sampler = {k: v for k, v in method["sampler"].items() if not str(v).startswith("@")}
    ltbench.build("sampler", {**sampler, "total": 7})
    generator = ltbench.build("generator", method["generator"])
    assert generator.guided == (name in ("IOIS", "IOIS_XT", "IOIS_OIS", "IOIS_OFFLINE"))


def test_the_variants_share_one_fit() -> None:
    fits = set()
    for method in (methods.IOIS, methods.IOIS_XT, methods.IOIS_OIS, methods.IOIS_OFFLINE, methods.IOIS_UNGUIDED):
        generator = ltbench.build("generator", method["generator"])
        fits.add(str({k: generator.options[k] for k in sorted(generator.fit_options)}))
    assert len(fits) == 1
