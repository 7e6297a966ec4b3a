"""The samplers rl-cas and mixed-batches: composition, candidates, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ltbench_rlcas.mixing import cycled
from ltbench_samplers.freemask import original

import ltbench
from ltbench.errors import DataError, UserError
from ltbench.interfaces import EpochView

COUNTS = np.array([14, 8, 3])


def build(counts: Any = COUNTS, **options: Any) -> Any:
    sampler = ltbench.build("sampler", "rl-cas", **{"pool": 5, **options})
    sampler.setup(class_counts=np.asarray(counts), total_epochs=4)
    return sampler


def view(counts: Any = COUNTS, pool: Any = (5, 5, 5), batch: int = 8) -> EpochView:
    classes = len(counts)
    labels = np.concatenate([np.repeat(np.arange(classes), counts), np.repeat(np.arange(classes), pool)])
    return EpochView(labels, np.arange(len(labels)) >= np.sum(counts), 0, 4, batch, classes)


def feedback(pool: Any = (0, 0, 0), val: Any = (4, 4, 4)) -> dict[str, Any]:
    return {"epoch": 0, "pool_counts": np.array(pool), "val_counts": np.array(val), "score": float("nan")}


def plans(sampler: Any, at: EpochView | None = None, seed: int = 0) -> Any:
    at = at or view()
    return [plan.check(at) for plan in sampler.plan(at, feedback(), np.random.default_rng(seed))]


def batches(plan: Any) -> list[np.ndarray]:
    return np.split(plan.rows, np.cumsum(plan.sizes)[:-1])


@pytest.mark.parametrize("order", ["shared", "independent"])
def test_every_batch_has_the_state_of_its_candidate(order: str) -> None:
    at, sampler = view(), build(order=order)
    drawn = plans(sampler, at)
    for plan, state in zip(drawn, sampler.proposed, strict=True):
        for rows in batches(plan):
            fake = at.labels[rows[at.synthetic[rows]]]
            assert np.bincount(fake, minlength=3).tolist() == state.tolist()
        real = plan.rows[~at.synthetic[plan.rows]]
        assert sorted(real) == list(range(25))  # one pass over the real part
        for c in range(3):
            seen = np.bincount(plan.rows[at.synthetic[plan.rows]] - 25, minlength=15)[5 * c : 5 * c + 5]
            assert seen.sum() == state[c] * len(plan.sizes) and np.ptp(seen) <= 1  # cycled
    orders = [plan.rows[~at.synthetic[plan.rows]].tolist() for plan in drawn]
    assert (orders[0] == orders[1] == orders[2]) == (order == "shared")


def test_candidates_draw_the_pool_in_one_order() -> None:
    members = np.arange(10, 17)
    few, many = (cycled(members, n, np.random.default_rng(3)) for n in (5, 20))
    assert np.array_equal(many[:5], few)
    assert sorted(many[:7]) == sorted(many[7:14]) == members.tolist()
    assert len(cycled(members[:0], 0, np.random.default_rng(0))) == 0


def test_passes_multiply_the_steps_of_an_epoch() -> None:
    once, thrice = (plans(build(k=1, agents="fixed", passes=n))[0] for n in (1, 3))
    assert len(thrice.sizes) == 3 * len(once.sizes)
    assert np.bincount(thrice.rows[thrice.rows < 25]).tolist() == [3] * 25


def test_the_pool_is_asked_for_once_and_as_large_as_the_largest_class() -> None:
    assert build(pool=None).synthetic_counts(feedback()).tolist() == [14, 14, 14]
    assert build([5000, 3, 3], pool=None).synthetic_counts(feedback()).tolist() == [2000] * 3
    assert build(pool=7).synthetic_counts(feedback()).tolist() == [7] * 3
    assert build([5, 0, 3]).synthetic_counts(feedback()).tolist() == [5, 0, 5]
    assert build().synthetic_counts(feedback((5, 5, 5))) is None
    assert build(high=0, start=0).synthetic_counts(feedback()).tolist() == [0, 0, 0]


def test_a_state_of_nothing_is_a_batch_of_real_images() -> None:
    (plan,) = plans(build(k=1, agents="fixed", start=0), view(pool=(0, 0, 0)))
    assert sorted(plan.rows) == list(range(25))


def test_kinds_of_agents() -> None:
    fixed = build(agents="fixed", order="independent")
    drawn = plans(fixed)
    assert fixed.proposed.tolist() == [[2, 2, 2]] * 3 and not np.array_equal(drawn[0].rows, drawn[1].rows)
    fixed.observe([0.2, 0.9, 0.4], 1)
    assert fixed.state.tolist() == [2, 2, 2] and "baseline" not in fixed.notes()
    uniform, learned = build(agents="uniform", start=8), build(start=8)
    for sampler in (uniform, learned):
        for epoch in range(12):
            plans(sampler, seed=epoch)
            best = int(np.argmax(sampler.proposed[:, 0]))
            sampler.observe((0.5 + 0.02 * (sampler.proposed[:, 0] - sampler.state[0])).tolist(), best)
            sampler.state = np.array([8, 8, 8])
    assert np.allclose(uniform.probs, 1 / 3) and learned.probs[0, 2] > 0.36
    notes = learned.notes()
    assert np.shape(notes["probs"]) == (3, 3) and np.shape(notes["moves"]) == (3, 3)
    assert notes["learned"] in (0, 1) and notes["duplicates"] <= 2


def test_the_state_follows_the_kept_candidate_and_ties_go_to_the_engine() -> None:
    sampler = build()
    plans(sampler)
    wanted = sampler.proposed[2].copy()
    sampler.observe([0.1, float("nan"), 0.3], 2)
    assert sampler.state.tolist() == wanted.tolist() == sampler.notes()["state"]
    assert sampler.notes()["rewards"][1] == 0.0


def test_an_epoch_that_was_not_validated_teaches_nothing() -> None:
    sampler = build(k=1)
    plans(sampler)
    before, wanted = sampler.agents.probs(COUNTS), sampler.proposed[0].tolist()
    sampler.observe([float("nan")], 0)
    assert np.array_equal(sampler.agents.probs(COUNTS), before) and sampler.agents.baseline == 0.0
    assert not sampler.agents.adam.state and sampler.state.tolist() == wanted
    assert sampler.notes()["learned"] == 0 and "rewards" not in sampler.notes()
    plans(sampler, seed=1)
    sampler.observe([0.5], 0)
    assert sampler.agents.baseline > 0 and sampler.notes()["learned"] == 1 and len(sampler.notes()["rewards"]) == 1


@pytest.mark.parametrize(
    ("logits", "expected"),
    [((1.0, 1, 1), (0.104360, 2.406945, 4.709530)), ((2.0, -1, 0.5), (0.007184, 5.309769, 6.112354))],
)
def test_balanced_softmax(logits: Any, expected: Any) -> None:
    loss = ltbench.build("loss", "balanced-softmax")
    loss.setup(class_counts=np.array([100, 10, 1]), total_epochs=1)
    loss.on_epoch_start(0)
    for label, value in enumerate(expected):
        found = loss.loss(torch.tensor([logits], dtype=torch.float64), torch.tensor([label]))
        assert float(found) == pytest.approx(value, abs=6e-7)


def test_cross_entropy_where_the_sheet_sets_balanced_softmax_beside_it() -> None:
    loss = ltbench.build("loss", "ce")
    loss.setup(class_counts=np.array([100, 10, 1]), total_epochs=1)
    loss.on_epoch_start(0)
    logits = torch.tensor([[2.0, -1, 0.5]], dtype=torch.float64)
    found = [float(loss.loss(logits, torch.tensor([label]))) for label in range(3)]
    assert found == pytest.approx([0.241311, 3.241311, 1.741311], abs=6e-7)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": 0}, r"sampler\.k must be a whole number of at least 1, got 0"),
        ({"k": 1.5}, r"sampler\.k"),
        ({"pool": 0}, r"sampler\.pool"),
        ({"start": 9, "high": 8}, r"sampler\.start must lie within the bounds low=0 and high=8, got 9.*start=8"),
        ({"start": 1, "low": 2}, r"sampler\.start must lie within.*start=2"),
        ({"low": 4, "high": 2}, r"sampler\.high"),
        ({"move": 0}, r"sampler\.move"),
        ({"agents": "none"}, r"sampler\.agents must be one of learned, uniform, fixed"),
        ({"agents": "fixed"}, r"one and the same.*sampler\.k=1"),
        ({"hidden": -1}, r"sampler\.hidden"),
        ({"lr": 0}, r"sampler\.lr"),
        ({"gamma": 0}, r"sampler\.gamma"),
        ({"gamma": 1.1}, r"sampler\.gamma"),
        ({"reward_power": 0}, r"sampler\.reward_power"),
        ({"reward_shift": -1}, r"sampler\.reward_shift"),
        ({"order": "same"}, r"sampler\.order"),
        ({"passes": 0}, r"sampler\.passes"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        build(**options)


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 classes to choose among, got 1"):
        build([10])


def test_rewards_need_every_class_in_validation() -> None:
    with pytest.raises(DataError, match=r"class 1 has no validation image.*undefined.*agents=fixed"):
        build().synthetic_counts(feedback(val=(4, 0, 4)))
    with pytest.raises(DataError, match="there is no validation part"):
        build(agents="uniform").synthetic_counts(feedback(val=(0, 0, 0)))
    assert build(k=1, agents="fixed").synthetic_counts(feedback(val=(4, 0, 4))) is not None


def test_a_class_without_synthetic_images_is_named() -> None:
    with pytest.raises(DataError, match=r"class 2 has no synthetic image.*ask for \d a batch.*generator=real-copies"):
        plans(build(low=1), view(pool=(5, 5, 0)))


def test_too_many_synthetic_images_a_batch() -> None:
    with pytest.raises(UserError, match=r"36 synthetic images a batch of 8 real ones.*sampler\.start=10"):
        plans(build(start=12))
    with pytest.raises(UserError, match=r"--set sampler\.start=10 --set sampler\.low=10$"):
        plans(build(low=11, start=12))


def test_a_base_that_tries_several_plans_itself() -> None:
    with pytest.raises(UserError, match=r"sampler\.base must plan one epoch at a time, RLCAS offers 3"):
        plans(build(base={"name": "rl-cas", "pool": 5, "start": 0, "low": 0, "high": 0}))


def test_mixed_batches() -> None:
    sampler = ltbench.build("sampler", "mixed-batches", per_class=2)
    sampler.setup(class_counts=COUNTS, total_epochs=2)
    at = view(pool=(1, 3, 8))
    (plan,) = plans(sampler, at)
    assert all(at.synthetic[rows].sum() == 6 for rows in batches(plan))
    seen = np.bincount(plan.rows)
    assert (seen[:25] == 1).all() and np.ptp(seen[25:]) <= 1
    (plan,) = plans(sampler, view(pool=(0, 0, 0)))
    assert sorted(plan.rows) == list(range(25))
    with pytest.raises(UserError, match=r"sampler\.per_class"):
        ltbench.build("sampler", "mixed-batches", per_class=-1)


def test_counts_of_the_original_freemask_rule() -> None:
    assert original(np.arange(1, 9), 20).tolist() == [3, 6, 9, 11, 13, 16, 19, 20]
    sampler = ltbench.build("sampler", "freemask", rule="original", k_max=20)
    sampler.setup(class_counts=np.full(8, 5), total_epochs=10)
    losses = {"epoch": 1, "pool_counts": np.zeros(8), "train_loss": np.arange(8)[::-1] / 8}
    assert sampler.synthetic_counts(losses).tolist() == [20, 19, 16, 13, 11, 9, 6, 3]
    shared = ltbench.build("sampler", "freemask", rule="original", total=97)
    shared.setup(class_counts=np.full(8, 5), total_epochs=10)
    assert shared.synthetic_counts(losses).tolist() == [20, 19, 16, 13, 11, 9, 6, 3]
    with pytest.raises(UserError, match=r"sampler\.rule must be one of class, original"):
        ltbench.build("sampler", "freemask", total=5, rule="image")
