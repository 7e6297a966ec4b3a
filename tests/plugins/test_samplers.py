"""The samplers by class frequency: every vector of Kang et al. 2020's rules on one count vector, and the quota."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ltbench_samplers.quota import largest_remainder

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import ClassSampler, EpochPlan, EpochView, Sampler, WrappingSampler

COUNTS = np.array([1000, 200, 50, 5])
NATURAL = [0.79681275, 0.15936255, 0.03984064, 0.00398406]


def view(counts: np.ndarray = COUNTS, synthetic: int = 0, epoch: int = 0, batch_size: int = 32) -> EpochView:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    labels = np.concatenate([labels, np.zeros(synthetic, dtype=np.int64)])
    mask = np.arange(len(labels)) >= counts.sum()
    return EpochView(labels, mask, epoch, 5, batch_size, len(counts))


def build(spec: Any, counts: np.ndarray = COUNTS, epochs: int = 5, **options: Any) -> Any:
    sampler = ltbench.build("sampler", spec, **options)
    sampler.setup(class_counts=counts, total_epochs=epochs)
    return sampler


@pytest.mark.parametrize(
    ("spec", "probs", "item"),
    [
        ({"name": "power", "q": 1}, NATURAL, [0.00079681] * 4),
        ("sqrt", [0.57420738, 0.25679335, 0.12839667, 0.04060259], [0.00057421, 0.00128397, 0.00256793, 0.00812052]),
        ("class-balanced", [0.25] * 4, [0.00025, 0.00125, 0.005, 0.05]),
        (
            {"name": "power", "q": 0.125},
            [0.33100628, 0.27068549, 0.22761846, 0.17068977],
            [0.00033101, 0.00135343, 0.00455237, 0.03413795],
        ),
    ],
)
def test_power_rule(spec: Any, probs: list[float], item: list[float]) -> None:
    got = build(spec).class_probs(0)
    assert got == pytest.approx(probs, abs=5e-9)
    assert got / COUNTS == pytest.approx(item, abs=5e-9)


@pytest.mark.parametrize("q", [1, 0.5, 0])
def test_power_gives_nothing_to_an_empty_class(q: float) -> None:
    probs = build({"name": "power", "q": q}, np.array([4, 0, 4])).class_probs(0)
    assert probs == pytest.approx([0.5, 0, 0.5])


@pytest.mark.parametrize(
    ("end", "rows"),
    [
        (
            "inclusive",
            [
                NATURAL,
                [0.66010956, 0.18202191, 0.09238048, 0.06548805],
                [0.52340637, 0.20468127, 0.14492032, 0.12699203],
                [0.38670319, 0.22734064, 0.19746016, 0.18849602],
                [0.25] * 4,
            ],
        ),
        (
            "exclusive",
            [
                NATURAL,
                [0.68745020, 0.17749004, 0.08187251, 0.05318725],
                [0.57808765, 0.19561753, 0.12390438, 0.10239044],
                [0.46872510, 0.21374502, 0.16593625, 0.15159363],
                [0.35936255, 0.23187251, 0.20796813, 0.20079681],
            ],
        ),
    ],
)
def test_progressive(end: str, rows: list[list[float]]) -> None:
    sampler = build("progressive", end=end)
    for epoch, row in enumerate(rows):
        assert sampler.class_probs(epoch) == pytest.approx(row, abs=6e-9)


def test_progressive_of_one_epoch_is_natural() -> None:
    assert build("progressive", epochs=1).class_probs(0) == pytest.approx(NATURAL, abs=5e-9)


def test_instance_is_a_permutation() -> None:
    plan = build("instance").plan(view(), {}, np.random.default_rng(0))[0].check(view())
    assert sorted(plan.rows) == list(range(1255))
    again = build("instance").plan(view(), {}, np.random.default_rng(0))[0]
    assert np.array_equal(plan.rows, again.rows)


@pytest.mark.parametrize("name", ["sqrt", "class-balanced", "progressive"])
def test_class_samplers_draw_their_shares(name: str) -> None:
    sampler = build(name)
    big = view(COUNTS * 40)
    plan = sampler.plan(big, {}, np.random.default_rng(0))[0].check(big)
    share = np.bincount(big.labels[plan.rows], minlength=4) / len(plan.rows)
    assert isinstance(sampler, ClassSampler)
    assert share == pytest.approx(sampler.class_probs(0), abs=0.01)


@pytest.mark.parametrize(
    ("weights", "total", "counts"),
    [
        ([1] * 7, 2000, [286] * 5 + [285] * 2),
        ([1, 1, 1], 10, [4, 3, 3]),
        ([1] * 4, 3, [1, 1, 1, 0]),
        ([1, 2], 0, [0, 0]),
    ],
)
def test_largest_remainder(weights: list[float], total: int, counts: list[int]) -> None:
    got = largest_remainder(np.array(weights), total)
    assert got.dtype == np.int64
    assert got.tolist() == counts


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=20), st.integers(0, 5000))
def test_largest_remainder_sums_exactly(weights: list[float], total: int) -> None:
    shares = np.array(weights) / np.sum(weights) * total
    got = largest_remainder(np.array(weights), total)
    assert got.sum() == total
    assert np.all(np.abs(got - shares) < 1 + 1e-6)


def test_fixed_quota_fills_an_empty_pool_once() -> None:
    sampler = build("fixed-quota", total=10, base="class-balanced")
    assert sampler.synthetic_counts({"epoch": 0, "pool_counts": np.zeros(4)}).tolist() == [3, 3, 2, 2]
    assert sampler.synthetic_counts({"epoch": 3, "pool_counts": np.zeros(4)}).tolist() == [3, 3, 2, 2]
    assert sampler.synthetic_counts({"epoch": 4, "pool_counts": np.array([3, 3, 2, 2])}) is None
    plan = sampler.plan(view(synthetic=10), {}, np.random.default_rng(0))[0]
    share = np.bincount(view(synthetic=10).labels[plan.rows], minlength=4) / len(plan.rows)
    assert share == pytest.approx([0.25] * 4, abs=0.05)


def test_fixed_quota_by_ratio() -> None:
    assert build("fixed-quota", ratio=0.2).synthetic_counts({"epoch": 0, "pool_counts": np.zeros(4)}).sum() == 251
    assert build("fixed-quota", ratio=0.2, total=8).quota == 8


@pytest.mark.parametrize(("ratio", "total"), [(0.5, 2500), (1.0, 5000), (2.0, 10_000), (3.0, 15_000)])
def test_ratios_of_the_histodiffusion_paper(ratio: float, total: int) -> None:
    """Of 5 000 labelled images in 9 classes, even but for one: totals, and equal shares by largest remainder."""
    labelled = largest_remainder(np.ones(9), 5000)
    assert labelled.tolist() == [556] * 5 + [555] * 4
    sampler = build("fixed-quota", labelled, ratio=ratio)
    got = sampler.synthetic_counts({"epoch": 0, "pool_counts": np.zeros(9)})
    more = total % 9
    assert sampler.quota == got.sum() == total
    assert got.tolist() == [total // 9 + 1] * more + [total // 9] * (9 - more)


def test_equal_shares_do_not_follow_the_class_counts() -> None:
    for counts, shares in (([90, 9, 1], [50, 50, 50]), ([90, 0, 10], [75, 0, 75])):
        sampler = build("fixed-quota", np.array(counts), ratio=1.5)
        assert sampler.synthetic_counts({"epoch": 0, "pool_counts": np.zeros(3)}).tolist() == shares


@pytest.mark.parametrize("total", [-1, 2.5, True, "many", float("nan")])
def test_a_senseless_total_is_named(total: Any) -> None:
    with pytest.raises(UserError, match=r"sampler\.total must be a whole number .* got"):
        ltbench.build("sampler", "fixed-quota", total=total)


@pytest.mark.parametrize("ratio", [-0.1, float("inf"), float("nan"), True, "x"])
def test_a_senseless_ratio_is_named(ratio: Any) -> None:
    with pytest.raises(UserError, match=r"sampler\.ratio must be"):
        ltbench.build("sampler", "fixed-quota", ratio=ratio)


def test_bad_options() -> None:
    with pytest.raises(UserError, match="not set"):
        ltbench.build("sampler", "fixed-quota")
    with pytest.raises(UserError, match="rounding"):
        ltbench.build("sampler", "fixed-quota", total=1, rounding="up")
    with pytest.raises(UserError, match="end must be"):
        ltbench.build("sampler", "progressive", end="never")
    with pytest.raises(UserError, match=r"sampler\.q"):
        ltbench.build("sampler", "power", q=float("nan"))


class Recorder(Sampler):
    """A base that remembers what it was told."""

    needs = frozenset({"train_loss"})

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def plan(self, view: EpochView, feedback: Any, rng: np.random.Generator) -> list[EpochPlan]:
        raise NotImplementedError

    def observe(self, scores: Any, best: int) -> None:
        self.seen.append((list(scores), best))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def test_quota_samplers_delegate_to_their_base() -> None:
    first, second = Recorder(), Recorder()
    sampler = build("fixed-quota", total=4, base=first)
    sampler.observe([0.5], 0)
    other = build("fixed-quota", total=4, base=second)
    other.load_state_dict(sampler.state_dict())
    assert second.seen == [([0.5], 0)]
    assert sampler.needs == {"train_loss"}


def test_a_wrapper_leaves_all_but_the_pool_to_its_base() -> None:
    inner, feedback = {"name": "fixed-quota", "total": 4, "base": "sqrt"}, {"pool_counts": np.zeros(4), "epoch": 0}
    wrapper, base = WrappingSampler(base=inner), build(inner)
    wrapper.setup(class_counts=COUNTS, total_epochs=5)
    plans = [s.plan(view(), feedback, np.random.default_rng(7))[0].rows for s in (wrapper, base)]
    assert np.array_equal(*plans)
    assert wrapper.uses_class_counts and base.synthetic_counts(feedback) is not None
    assert wrapper.synthetic_counts(feedback) is None
