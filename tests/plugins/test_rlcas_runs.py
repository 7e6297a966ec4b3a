"""RL-CAS in the engine: the winner is kept, kills, divergence, logs and pictures, and every method of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_rlcas import trajectories

import ltbench
from ltbench.engine.checkpoint import copy_state
from ltbench.engine.run import Run
from ltbench.errors import Diverged, NonFinite, UserError
from ltbench.models.standard import StandardClassifier
from ltbench.testing import tiny_context


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
    monkeypatch.setattr(Run, "_tell", told)
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
        assert line["candidate_images"] > 2.5 * line["images"]


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
            raise NonFinite(f"call {len(calls)} diverged; lower the option of this method")
        return train(self, given, context)

    with monkeypatch.context() as patch:
        patch.setattr(StandardClassifier, "train_epoch", diverged)
        text = "all 3 candidates of an epoch diverged, the last: call 6 diverged; lower the option of this method"
        with pytest.raises(Diverged, match=text):
            run(tmp_path / "sick")
    assert run(tmp_path / "sick").history == whole.history


def test_a_single_candidate_trains(tmp_path: Path) -> None:
    made = run(tmp_path, k=1, epochs=2)
    assert "candidate_scores" not in made.history[0] and made.history[0]["sampler_learned"] == 1


@pytest.mark.parametrize(
    ("classifier", "more"),
    [
        ("crt", {"loss": "ce", "generator": "ddpm"}),
        ("standard", {"loss": "eqlv2", "generator": "real-copies"}),
        ("ncl", {"generator": "real-copies"}),
        ("proco-proto", {"generator": "real-copies"}),
        ("diffmic", {"generator": "real-copies"}),
    ],
)
def test_any_classifier_loss_and_generator(tmp_path: Path, classifier: str, more: dict[str, str]) -> None:
    made = Run(
        tiny_context(tmp_path, classifier=classifier, sampler="rl-cas", **more), "tiny", lambda epoch, line: None
    )
    made.train()
    acted = [line for line in made.history if "sampler_probs" in line]
    assert acted and all(np.isfinite(line["sampler_probs"]).all() for line in acted)
    if classifier == "crt":
        assert len(acted) == 2 and len(made.history) > 2  # the second stage has its own sampler


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
    assert trajectories.main([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "trajectories.png")
    assert (folder / "trajectories.png").read_bytes()[:4] == b"\x89PNG"
    assert trajectories.main([str(folder), "--out", str(tmp_path / "there.png")]) == 0
    assert (tmp_path / "there.png").is_file()
    assert trajectories.main([str(folder), "--out", str(tmp_path / "there.svg")]) == 0
    assert b"<svg" in (tmp_path / "there.svg").read_bytes()
    capsys.readouterr()
    assert trajectories.main([str(folder), "--out", str(tmp_path / "there.txt")]) == 2
    assert (
        "there.txt cannot be drawn: its name must end in ." in capsys.readouterr().err
        and not (tmp_path / "there.txt").exists()
    )
    assert trajectories.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"trajectories: {tmp_path} is no finished cell")
    (tmp_path / "history.jsonl").write_text('{"epoch": 0}\n')
    with pytest.raises(UserError, match="no agents acted"):
        trajectories.read(tmp_path)


def test_the_core_names_no_part_of_it() -> None:
    for path in Path(ltbench.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not any(name in text for name in ("rl-cas", "rlcas", "synclass", "mixed-batches", "diffmic")), path


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
