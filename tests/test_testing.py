"""Every registered component passes the conformance suite, and the suite notices broken ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltbench
from ltbench.errors import ContractError, LtbenchError, TestIsSealed, UnknownName
from ltbench.interfaces import EpochPlan, EpochView, Generator, Loss, Sampler
from ltbench.plugins import plugins
from ltbench.registry import KINDS
from ltbench.testing import check_component, tiny_context, tiny_run, tiny_table

CATALOGUE = [(c.kind, c.id) for c in plugins().registry.all()]


@pytest.mark.parametrize(("kind", "id"), CATALOGUE)
def test_every_component_of_the_catalogue_conforms(
    kind: str, id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LTBENCH_DATA", str(tmp_path))  # big data sets are loaded by `ltbench check`, not here
    lines = list(check_component(kind, id))
    assert len(lines) >= 2 and all(line.strip() for line in lines)


def test_the_catalogue_has_every_kind() -> None:
    assert {kind for kind, _ in CATALOGUE} == set(KINDS)


class FlatLoss(Loss):
    def loss(self, logits: Any, targets: Any) -> Any:
        return logits.exp().sum(1).log() - logits[range(len(targets)), targets]


class OverflowingLoss(Loss):
    def loss(self, logits: Any, targets: Any) -> Any:
        return (logits.exp().sum(1).log() - logits[range(len(targets)), targets]).mean()


class ForgetfulLoss(Loss):
    def __init__(self) -> None:
        self.seen = 0

    def loss(self, logits: Any, targets: Any) -> Any:
        self.seen += 1
        return logits.square().mean() * self.seen


class OneRow(Sampler):
    def plan(self, view: EpochView, feedback: Any, rng: np.random.Generator) -> list[EpochPlan]:
        return [EpochPlan(np.zeros(9, np.int64), np.array([8, 1]))]


class Restless(Sampler):
    def plan(self, view: EpochView, feedback: Any, rng: np.random.Generator) -> list[EpochPlan]:
        return [EpochPlan(np.random.default_rng().permutation(len(view.labels)), np.array([len(view.labels)]))]


class Stingy(Generator):
    def fit(self, table: Any, context: Any) -> None:
        self.table = table

    def sample(self, counts: np.ndarray, *, guide: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(max(int(counts.sum()) - 1, 0))
        return self.table.images[rows], self.table.labels[rows]


class Peeking(Stingy):
    def fit(self, table: Any, context: Any) -> None:
        self.table = context.test


BROKEN = [
    ("loss", FlatLoss, "scalar"),
    ("loss", OverflowingLoss, "loss is inf"),
    ("loss", ForgetfulLoss, "after a resume"),
    ("sampler", OneRow, "at least 2"),
    ("sampler", Restless, "same random stream"),
    ("generator", Stingy, "was asked for"),
    ("generator", Peeking, "sealed"),
]


@pytest.mark.parametrize(("kind", "target", "message"), BROKEN)
def test_broken_components_are_noticed(kind: str, target: type, message: str) -> None:
    registry = plugins().registry
    try:
        with registry.filling("broken"):
            registry.add(kind, "broken-one", f"{__name__}:{target.__name__}", summary="broken on purpose")
        with pytest.raises(LtbenchError, match=message):
            list(check_component(kind, "broken-one"))
    finally:
        registry.forget("broken")


def test_a_crash_inside_a_component_becomes_a_contract_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: Any, logits: Any, targets: Any) -> Any:
        raise ValueError("nothing works")

    monkeypatch.setattr(type(ltbench.build("loss", "ce")), "loss", crash)
    with pytest.raises(ContractError, match="loss 'ce' raised ValueError: nothing works"):
        list(check_component("loss", "ce"))


def test_unknown_names_are_reported() -> None:
    with pytest.raises(UnknownName, match="unknown loss"):
        list(check_component("loss", "no-such-loss"))


def test_tiny_helpers_are_real(tmp_path: Path) -> None:
    table = tiny_table()
    assert np.bincount(table.labels).tolist() == [14, 8, 2] and not table.images.flags.writeable
    context = tiny_context(tmp_path, loss="focal", protocol={"epochs": 1})
    assert context.recipe["loss"]["gamma"] == 2.0 and context.task.image_shape == (16, 16, 3)
    with pytest.raises(TestIsSealed):
        _ = context.test
    run, probs = tiny_run(tmp_path / "run", loss=OverflowingLoss(), protocol={"epochs": 1})
    assert probs.shape == (12, 3) and len(run.history) == 1
