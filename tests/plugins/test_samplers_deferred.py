"""Repeat factors, deferred re-sampling, FreeMask's counts, and what every class sampler must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ltbench_samplers.deferred import switch_epoch
from ltbench_samplers.freemask import hardness_ranks
from scipy.stats import chisquare

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import EpochView

COUNTS = np.array([1000, 200, 50, 5])
NATURAL = [0.79681275, 0.15936255, 0.03984064, 0.00398406]
CLASS_SAMPLERS = ["sqrt", "class-balanced", "progressive", "repeat-factor", "power"]


def view(counts: Any = COUNTS, epoch: int = 0) -> EpochView:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return EpochView(labels, np.zeros(len(labels), bool), epoch, 10, 32, len(counts))


def build(spec: Any, counts: Any = COUNTS, epochs: int = 10, **options: Any) -> Any:
    sampler = ltbench.build("sampler", spec, **options)
    sampler.setup(class_counts=np.asarray(counts), total_epochs=epochs)
    return sampler


def rows_of(sampler: Any, at: EpochView, seed: int = 0) -> np.ndarray:
    return sampler.plan(at, {}, np.random.default_rng(seed))[0].check(at).rows


def test_repeat_factor() -> None:
    probs = build("repeat-factor", threshold=0.1).class_probs(0)
    assert probs == pytest.approx([0.76671544, 0.15334309, 0.06073529, 0.01920618], abs=6e-9)
    factors = probs / COUNTS * (COUNTS[0] / probs[0])
    assert factors == pytest.approx([1, 1, 1.58429795, 5.00999002], abs=1e-8)


def test_repeat_factor_of_a_tiny_threshold_is_natural() -> None:
    assert build("repeat-factor", threshold=1e-6).class_probs(0) == pytest.approx(NATURAL, abs=5e-9)
    balanced = build("repeat-factor", threshold=1.0, power=1.0).class_probs(0)
    assert balanced == pytest.approx([0.25] * 4, abs=1e-12)


@pytest.mark.parametrize("name", CLASS_SAMPLERS)
def test_draws_follow_the_probabilities(name: str) -> None:
    at = view(COUNTS * 16, epoch=3)
    sampler = build(name)
    seen = np.bincount(at.labels[rows_of(sampler, at)], minlength=4)
    assert seen.sum() == 20080
    assert chisquare(seen, sampler.class_probs(3) * seen.sum()).pvalue > 1e-4


@pytest.mark.parametrize("name", CLASS_SAMPLERS)
@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(0, 5000), min_size=2, max_size=12).filter(lambda c: sum(c) > 1))
def test_probabilities_sum_to_one_and_leave_empty_classes_out(name: str, counts: list[int]) -> None:
    sampler = build(name, counts)
    for epoch in (0, 4, 9):
        probs = sampler.class_probs(epoch)
        assert probs.sum() == pytest.approx(1, abs=1e-12)
        assert (probs >= 0).all()
        assert np.array_equal(probs > 0, np.array(counts) > 0)


def test_expected_draws_of_sqrt() -> None:
    assert build("sqrt").class_probs(0) * 1255 == pytest.approx([720.6, 322.3, 161.1, 51.0], abs=0.06)


@pytest.mark.parametrize(("length", "draws"), [("dataset", 1255), ("max_class_x_c", 4000), (77, 77)])
@pytest.mark.parametrize("cycle", [False, True])
def test_epoch_length(length: Any, draws: int, cycle: bool) -> None:
    sampler = build("power", q=0, epoch_length=length, cycle=cycle)
    assert len(rows_of(sampler, view())) == draws
    assert np.array_equal(rows_of(sampler, view()), rows_of(sampler, view()))


def test_cycle_shows_the_images_of_a_class_equally_often() -> None:
    at = view()
    rows = rows_of(build("power", q=0, cycle=True), at)
    for k in range(4):
        shown = np.bincount(rows[at.labels[rows] == k], minlength=len(at.labels))[at.labels == k]
        assert shown.max() - shown.min() <= 1


def test_cycle_follows_the_probabilities_and_skips_empty_classes() -> None:
    at = view([8000, 4000, 0, 8000])
    seen = np.bincount(at.labels[rows_of(build("power", [8, 4, 0, 8], cycle=True), at)], minlength=4)
    probs = np.sqrt([8, 4, 0, 8]) / np.sqrt([8, 4, 0, 8]).sum()
    assert seen[2] == 0
    assert chisquare(seen[[0, 1, 3]], 20000 * probs[[0, 1, 3]]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("switch", "epochs", "first"), [(0.8, 10, 8), (0.8, 7, 5), (0.29, 100, 29), (0, 5, 0), (1, 5, 5)]
)
def test_switch_epoch(switch: float, epochs: int, first: int) -> None:
    assert switch_epoch(switch, epochs) == first


def test_deferred_is_natural_and_then_balanced() -> None:
    sampler = build("deferred")
    for epoch in range(10):
        at = view(epoch=epoch)
        wanted = build("instance" if epoch < 8 else "class-balanced")
        assert np.array_equal(rows_of(sampler, at, epoch), rows_of(wanted, at, epoch))
    assert sampler.uses_class_counts


def test_deferred_hands_everything_on() -> None:
    sampler = build("deferred", to={"name": "fixed-quota", "total": 4}, base={"name": "freemask", "total": 10})
    assert sampler.needs == {"train_loss"}
    told: list[Any] = []
    for k, part in enumerate(sampler.parts):
        part.observe = lambda scores, best, k=k: told.append(k)
    for epoch in (1, 9):
        counts = sampler.synthetic_counts(feedback(epoch, [4, 3, 2, 1]))
        sampler.plan(view(epoch=epoch), {}, np.random.default_rng(0))
        sampler.observe([0.5], 0)
        assert counts.sum() == (10 if epoch == 1 else 4)
    assert told == [0, 1]
    again = build("deferred", to={"name": "fixed-quota", "total": 4}, base={"name": "freemask", "total": 10})
    again.load_state_dict(sampler.state_dict())
    assert again.parts[0].hardness.tolist() == [4, 3, 2, 1]


def feedback(epoch: int, loss: Any = None, pool: Any = (0, 0, 0, 0)) -> dict[str, Any]:
    known = {} if loss is None else {"train_loss": np.array(loss, dtype=float)}
    return {"epoch": epoch, "pool_counts": np.array(pool), **known}


@pytest.mark.parametrize(
    ("loss", "k_max", "counts"),
    [
        ([0.1, 0.2, 0.3, 0.4], 20, [5, 10, 15, 20]),
        ([0.4, 0.1, 0.3, 0.2], 20, [20, 5, 15, 10]),
        ([0.4, 0.4, 0.1, 0.4], 20, [10, 15, 5, 20]),
        ([0.1, 0.2, 0.3, 0.4], 10, [2, 5, 8, 10]),  # 2.5 and 7.5: half to even
    ],
)
def test_freemask_counts_by_rank(loss: list[float], k_max: int, counts: list[int]) -> None:
    sampler = build("freemask", k_max=k_max)
    assert sampler.synthetic_counts(feedback(1, loss)).tolist() == counts


def test_freemask_shares_a_total_by_rank() -> None:
    counts = build("freemask", total=200).synthetic_counts(feedback(1, [0.4, 0.1, 0.3, 0.2]))
    assert counts.tolist() == [80, 20, 60, 40]


def test_freemask_leaves_a_class_without_images_out() -> None:
    sampler = build("freemask", [9, 5, 0, 3], k_max=30)
    assert sampler.synthetic_counts(feedback(1, [0.1, 0.2, np.nan, 0.3])).tolist() == [10, 20, 0, 30]
    assert hardness_ranks(np.array([np.nan, 2.0, 1.0])).tolist() == [0, 2, 1]


def test_freemask_measures_once_and_keeps_its_pool() -> None:
    sampler = build("freemask", k_max=20, warmup=0.3)
    needed = []
    for epoch in range(5):
        loss = [0.1, 0.2, 0.3, 0.4] if epoch == 3 else [0.4, 0.3, 0.2, 0.1]
        counts = sampler.synthetic_counts(feedback(epoch, loss, (5, 10, 15, 20) if epoch > 3 else (0,) * 4))
        needed.append(sampler.needs == {"train_loss"})
        assert (counts is not None) == (epoch == 3)
    assert counts is None
    assert needed == [False, False, True, False, False]
    again = build("freemask", k_max=20, warmup=0.3)
    again.load_state_dict(sampler.state_dict())
    assert again.synthetic_counts(feedback(5)).tolist() == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *[("repeat-factor", {"threshold": t}, r"sampler\.threshold must be") for t in (0, -1, 2, float("nan"), "x")],
        *[("repeat-factor", {"power": p}, r"sampler\.power must be") for p in (0, -1, float("inf"))],
        *[("deferred", {"switch": s}, r"sampler\.switch must be") for s in (-0.1, 1.1, True, "x", float("nan"))],
        *[("freemask", {"k_max": k}, r"sampler\.k_max must be") for k in (0, -1, 2.5, True)],
        *[("freemask", {"total": 1, "warmup": w}, r"sampler\.warmup must be") for w in (1, -0.1, "x")],
        ("freemask", {}, "not set"),
        *[("power", {"epoch_length": n}, r"sampler\.epoch_length must be") for n in (1, 0, True, "all", 2.5)],
        ("power", {"cycle": "yes"}, r"sampler\.cycle must be"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("sampler", name, **options)


def test_freemask_needs_an_epoch_on_real_images() -> None:
    with pytest.raises(UserError, match="at least 2 epochs, got 1"):
        build("freemask", total=4, epochs=1)
