"""CL: the supervised contrastive loss, balanced batches, the two stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from longtail_support import accuracy, returns, rows
from ltbench_longtail.cl_supcon import supcon
from torch.nn import functional as F

import ltbench
from ltbench.engine.checkpoint import state_digest
from ltbench.engine.run import Run
from ltbench.errors import UserError
from ltbench.interfaces import EpochView
from ltbench.testing import tiny_context, tiny_run

FEATURES = F.normalize(
    torch.stack([rows([1, 0], [0.8, 0.6]), rows([0, 1], [0.6, 0.8]), rows([1, 0.2], [0.9, -0.1])]), dim=2
)
LABELS = torch.tensor([0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "temperature", "base", "expected"),
    [
        (LABELS, 0.1, 0.07, 1.98489742),
        (LABELS, 0.1, 0.1, 1.38942819),
        (LABELS, 0.1, None, 1.38942819),
        (LABELS, 0.07, 0.07, 1.63974023),
        (None, 0.1, 0.1, 1.50008946),
    ],
)
def test_supcon(labels: Any, temperature: float, base: float | None, expected: float) -> None:
    assert supcon(FEATURES, labels, temperature, base).item() == pytest.approx(expected, abs=1e-8)


def test_supcon_gradient_and_single_views() -> None:
    assert torch.autograd.gradcheck(lambda f: supcon(f, LABELS, 0.3, None), FEATURES.clone().requires_grad_())
    one = supcon(FEATURES[:, :1], LABELS, 0.1, None)  # sample 1 has no positive
    assert torch.isfinite(one) and one > 0
    assert supcon(FEATURES[1:, :1], LABELS[1:], 0.1, None) == 0
    f = FEATURES.float().requires_grad_()
    supcon(f, LABELS, 0.001, None).backward()
    assert torch.isfinite(f.grad).all()


def plan(counts: list[int], batch_size: int) -> tuple[EpochView, list[np.ndarray]]:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    view = EpochView(labels, np.zeros(len(labels), bool), 0, 5, batch_size, len(counts))
    made = ltbench.build("sampler", "balanced-batches").plan(view, {}, np.random.default_rng(0))[0].check(view)
    return view, np.split(made.rows, np.cumsum(made.sizes)[:-1])


@pytest.mark.parametrize(("counts", "batch_size", "steps"), [([14, 8, 2], 8, 5), ([14, 2], 7, 4), ([3, 0, 1], 64, 1)])
def test_batches_hold_every_class_equally(counts: list[int], batch_size: int, steps: int) -> None:
    view, batches = plan(counts, batch_size)
    present = np.flatnonzero(counts)
    each = batch_size // len(present)
    assert len(batches) == steps
    for batch in batches:
        assert np.bincount(view.labels[batch], minlength=len(counts))[present].tolist() == [each] * len(present)
    for c in present:
        times = np.bincount(np.concatenate(batches), minlength=len(view.labels))[view.labels == c]
        assert times.max() - times.min() <= 1


def test_more_classes_than_slots_is_an_error() -> None:
    with pytest.raises(UserError, match=r"9 classes do not fit into 8 images.*--set protocol\.batch_size=9"):
        plan([3] * 9, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be a number above 0, got -0.1"),
        ({"base_temperature": 0}, "base_temperature must be a number above 0, got 0"),
        ({"head_epochs": 0}, "head_epochs must be a number above 0"),
        ({"head_rate": "fast"}, "head_rate must be a number above 0, got 'fast'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", "cl-supcon", **options)


def test_stages() -> None:
    first, second = ltbench.build("classifier", "cl-supcon").stages(30)
    assert (first.epochs, first.select, first.sampler) == (30, False, None)
    assert (second.epochs, second.select, second.sampler) == (12, True, "instance")
    assert [stage.epochs for stage in ltbench.build("classifier", "cl-supcon").stages(1)] == [1, 1]


def test_learns_in_two_stages(tmp_path: Path) -> None:
    frozen: list[str] = []
    runs: list[Any] = []

    def watch(epoch: int, line: dict[str, Any]) -> None:
        if line["stage"] == "head" and runs:
            frozen.append(state_digest(runs[0].classifier.net[0].state_dict()))

    context = tiny_context(
        tmp_path / "run",
        classifier={"name": "cl-supcon", "head_epochs": 0.5},
        sampler="balanced-batches",
        protocol={"epochs": 10, "backbone": "small_resnet"},
    )
    runs.append(Run(context, "tiny", watch))
    runs[0].train()
    assert len(frozen) == 5 and len(set(frozen)) == 1  # BatchNorm statistics included
    assert [line["stage"] for line in runs[0].history] == ["contrast"] * 10 + ["head"] * 5
    assert runs[0].selected["score"] > 0.5
    (group,) = runs[0].classifier.optimizer.param_groups
    rates = {10 * line["lr"] for line in runs[0].history if line["stage"] == "head"}
    assert group["lr"] in rates and len(group["params"]) == 2


def test_state_returns(tmp_path: Path) -> None:
    run, score = accuracy(tmp_path / "run", epochs=12, classifier="cl-supcon", sampler="balanced-batches")
    assert score > 0.6
    assert returns(run, tmp_path, "cl-supcon")


@pytest.mark.parametrize(("sampler", "batch_size"), [("instance", 7), ("balanced-batches", 3)])
def test_small_and_odd_batches(tmp_path: Path, sampler: str, batch_size: int) -> None:
    protocol = {"batch_size": batch_size, "epochs": 1, "backbone": "small_resnet"}
    run, _ = tiny_run(tmp_path, classifier="cl-supcon", sampler=sampler, protocol=protocol)
    assert all(np.isfinite(line["loss"]) for line in run.history)
