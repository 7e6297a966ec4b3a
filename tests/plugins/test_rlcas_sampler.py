"""The samplers rl-cas and mixed-batches: composition, candidates, bad input, and runs through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_rlcas import trajectory
from ltbench_rlcas.mixing import cycled
from ltbench_samplers.freemask import original

import ltbench
import ltbench.engine.run as engine_run
from ltbench.engine.checkpoint import copy_state
from ltbench.engine.run import Run
from ltbench.errors import DataError, Diverged, NonFinite, UserError
from ltbench.interfaces import EpochView
from ltbench.models.standard import StandardClassifier
from ltbench.testing import tiny_context

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
    with pytest.raises(DataError, match=r"class 2 has no synthetic image.*the agents ask for \d a batch"):
        plans(build(low=1), view(pool=(5, 5, 0)))


def test_too_many_synthetic_images_a_batch() -> None:
    with pytest.raises(UserError, match=r"36 synthetic images a batch of 8 real ones.*sampler\.start=10"):
        plans(build(start=12))


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


def run(folder: Path, listener: Any = lambda epoch, line: None, epochs: int = 3, **options: Any) -> Run:
    sampler = {"name": "rl-cas", **options}
    slots = {"sampler": sampler, "generator": "real-copies", "loss": "balanced-softmax"}
    made = Run(tiny_context(folder, protocol={"epochs": epochs}, **slots), "tiny", listener)
    made.train()
    return made


def test_the_classifier_is_the_winner_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, BatchNorm, momentum: against an own record of each candidate's end."""
    ends: list[Any] = []
    after: list[Any] = []
    train, tell = StandardClassifier.train_epoch, Run._tell

    def recorded(self: Any, given: Any, context: Any) -> Any:
        log = train(self, given, context)
        ends.append(copy_state(self.state_dict()))
        return log

    def told(self: Any, *args: Any) -> None:
        after.append(copy_state(self.classifier.state_dict()))
        tell(self, *args)

    monkeypatch.setattr(StandardClassifier, "train_epoch", recorded)
    monkeypatch.setattr(engine_run.Run, "_tell", told)
    protocol = {"backbone": "resnet10t", "image_size": 32, "stored_size": 32, "epochs": 2}  # has BatchNorm
    slots = {"sampler": "rl-cas", "generator": "real-copies"}
    made = Run(tiny_context(tmp_path, protocol=protocol, **slots), "tiny", lambda epoch, line: None)
    made.train()
    assert len(ends) == 6 and any("running_mean" in name for name in ends[0]["net"])
    for epoch, line in enumerate(made.history):
        winner = ends[3 * epoch + line["candidate_kept"]]
        for name, value in winner["net"].items():
            assert torch.equal(value, after[epoch]["net"][name]), name
        momenta, kept = (state["optimizer"]["state"] for state in (winner, after[epoch]))
        assert all(torch.equal(momenta[i]["momentum_buffer"], kept[i]["momentum_buffer"]) for i in momenta)
        assert line["val_score"] == max(line["candidate_scores"])


def test_states_and_probabilities_are_logged_and_one_pool_is_made(tmp_path: Path) -> None:
    made = run(tmp_path)
    for line in made.history:
        assert line["synthetic_counts"] == [4, 4, 4] and line["generated_at"] == "train:0"
        assert np.allclose(np.sum(line["sampler_probs"], 1), 1, atol=1e-5)
        assert line["sampler_state"] in [
            np.clip(np.add(before, move), 0, 8).tolist()
            for before in [[2, 2, 2]] + [x["sampler_state"] for x in made.history]
            for move in line["sampler_moves"]
        ]


class Stop(BaseException):
    """Something that no handler may swallow, like a kill."""


@pytest.mark.parametrize("candidate", [1, 4, 5, 8])
def test_killed_within_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, candidate: int) -> None:
    whole = run(tmp_path / "whole")
    calls, train = [], StandardClassifier.train_epoch

    def killed(self: Any, given: Any, context: Any) -> Any:
        calls.append(1)
        if len(calls) == candidate + 1:
            next(iter(given))
            raise Stop
        return train(self, given, context)

    monkeypatch.setattr(StandardClassifier, "train_epoch", killed)
    with pytest.raises(Stop):
        run(tmp_path / "killed")
    resumed = run(tmp_path / "killed")
    assert len(calls) == candidate + 1 + 9 - 3 * (candidate // 3)
    assert resumed.history == whole.history
    one, two = (made.classifier.state_dict()["net"] for made in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert np.array_equal(resumed.sampler.state, whole.sampler.state)


def test_all_candidates_diverged_leaves_the_last_good_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole")
    calls, train = [], StandardClassifier.train_epoch

    def diverged(self: Any, given: Any, context: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise NonFinite("diverged")
        return train(self, given, context)

    with monkeypatch.context() as patch:
        patch.setattr(StandardClassifier, "train_epoch", diverged)
        with pytest.raises(Diverged, match=r"all 3 candidates of an epoch diverged; lower protocol\.optimizer\.lr"):
            run(tmp_path / "sick")
    assert run(tmp_path / "sick").history == whole.history


def test_a_single_candidate_trains(tmp_path: Path) -> None:
    made = run(tmp_path, k=1, epochs=2)
    assert "candidate_scores" not in made.history[0] and made.history[0]["sampler_learned"] == 1


def test_any_classifier_loss_and_generator(tmp_path: Path) -> None:
    slots = {"classifier": "crt", "loss": "ce", "generator": "ddpm", "sampler": "rl-cas"}
    made = Run(tiny_context(tmp_path, **slots), "tiny", lambda epoch, line: None)
    made.train()
    first = [line for line in made.history if "sampler_probs" in line]
    assert len(first) == 2 and len(made.history) > 2  # the second stage has its own sampler


def test_a_wrapper_passes_the_notes_on(tmp_path: Path) -> None:
    sampler = {"name": "deferred", "base": {"name": "rl-cas", "pool": 4}, "to": "class-balanced", "switch": 0.5}
    slots = {"sampler": sampler, "generator": "real-copies"}
    made = Run(tiny_context(tmp_path, **slots), "tiny", lambda epoch, line: None)
    made.train()
    assert ["sampler_state" in line for line in made.history] == [True, False]


def test_a_picture_of_a_finished_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"epochs": 2, "sampler.pool": 4, "protocol.max_train": 60}
    result = ltbench.run("rl-cas-real-copies", "digits-lt", "quick", overrides=options, out=tmp_path, device="cpu")
    (folder,) = [path.parent for path in tmp_path.rglob("result.json")]
    assert len(result.history) == 2
    trajectory.main([str(folder)])
    assert capsys.readouterr().out.strip() == str(folder / "agents.png")
    assert (folder / "agents.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit):
        trajectory.main([str(tmp_path)])
    (tmp_path / "history.jsonl").write_text('{"epoch": 0}\n')
    with pytest.raises(UserError, match="no agents acted"):
        trajectory.read(tmp_path)


def test_the_core_names_no_part_of_it() -> None:
    for path in Path(ltbench.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not any(name in text for name in ("rl-cas", "rlcas", "synclass", "mixed-batches")), path


SHORT = {"epochs": 2, "protocol.max_train": 80}
POOLED = {"sampler.pool": 4}
FITTED = {"generator.train_steps": 2, "generator.train_batch": 8, "generator.steps": 2, "generator.widths": [8, 8]}


@pytest.mark.parametrize(
    ("method", "steps", "counts"),
    [
        ("rl-cas", 3, [4] * 10),
        ("synclass", 3, [4] * 10),
        ("synclass-sketch", 3, [4] * 10),
        ("synclass-resample", 3, None),
        ("synclass-rl-cas", 3, [4] * 10),
        ("bestofk-uniform", 3, [4] * 10),
        ("bestofk-fixed", 3, [4] * 10),
        ("rl-cas-equal-compute", 9, [4] * 10),
    ],
)
def test_every_method_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, steps: int, counts: list[int] | None
) -> None:
    monkeypatch.setattr("ltbench.engine.finish.draw_samples", lambda *args: None)  # seconds of drawing
    seen: list[int] = []
    train = StandardClassifier.train_epoch

    def counted(self: Any, given: Any, context: Any) -> Any:
        if context.stage == "train":
            seen.append(len(given))
        return train(self, given, context)

    monkeypatch.setattr(StandardClassifier, "train_epoch", counted)
    overrides = {**SHORT, **FITTED, **(POOLED if counts else {"sampler.ratio": 0.5})}
    result = ltbench.run(method, "digits-lt", "quick", overrides=overrides, out=tmp_path, device="cpu")
    last = result.history[-1]
    candidates = len(last.get("candidate_scores", [0]))
    assert candidates == (3 if method in ("rl-cas", "synclass-rl-cas", "bestofk-uniform", "bestofk-fixed") else 1)
    assert seen == [steps] * (2 * candidates)
    made = last["synthetic_counts"]
    assert made == counts if counts else sum(made) == 40 and len(set(made)) > 3
    if method == "synclass-resample":
        assert last["images"] == 80 + 3 * 2 * 10
