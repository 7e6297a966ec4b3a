"""ProCo with prototypes: contrast against a slow sum, the queue, prototypes, proto-instances, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from longtail_support import COUNTS, accuracy, returns, rows, unit
from ltbench_longtail.parts import contrast
from ltbench_longtail.proco_proto import Prototypes, proto_instances, queue_size, recalibration

import ltbench
from ltbench.errors import UserError
from ltbench.recipe import resolve
from ltbench.testing import tiny_run


def slow_contrast(q: Any, v: Any, positive: Any, w: Any, t: float) -> float:
    losses = []
    for i in range(len(q)):
        e = np.exp(q[i] @ v.T / t) * w
        mine = np.flatnonzero(positive[i])
        losses.append(-(w[mine] * np.log(np.exp(q[i] @ v[mine].T / t) / e.sum())).sum() / w[mine].sum())
    return float(np.mean(losses))


def test_contrast_equals_a_slow_sum() -> None:
    q, v, w = unit(4, 5), unit(9, 5, seed=1), torch.linspace(0.2, 3, 9, dtype=torch.float64)
    positive = torch.arange(4)[:, None] == torch.arange(9) % 4
    got = contrast(q, v, positive, w, 0.07).item()
    assert got == pytest.approx(slow_contrast(q.numpy(), v.numpy(), positive.numpy(), w.numpy(), 0.07), abs=1e-10)
    assert torch.autograd.gradcheck(lambda q: contrast(q, v, positive, w, 0.5), q.clone().requires_grad_())


def test_anchors_without_a_positive_do_not_count() -> None:
    q, v, w = unit(2, 3), unit(4, 3, seed=1), torch.ones(4)
    positive = torch.tensor([[True, False, False, False], [False] * 4])
    assert contrast(q, v, positive, w, 0.1).item() == pytest.approx(contrast(q[:1], v, positive[:1], w, 0.1).item())
    assert contrast(q, v, torch.zeros(2, 4, dtype=torch.bool), w, 0.1).item() == 0


def test_recalibration_lifts_rare_classes() -> None:
    weights = recalibration(COUNTS, 0.5)
    assert weights.mean().item() == pytest.approx(1) and (weights.diff() > 0).all()
    assert (weights[3] / weights[0]).item() == pytest.approx((1000 / 5) ** 0.5)
    assert recalibration(COUNTS, 0.0).tolist() == [1] * 4


def test_prototypes_start_at_the_first_mean_and_ignore_absent_classes() -> None:
    store = Prototypes(3, 2)
    store.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1]), 0.99)
    assert store.vectors.tolist() == [[0, 0], pytest.approx([0.5**0.5] * 2), [0, 0]]
    store.update(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), 0.99)
    expected = np.array([0.99 * 0.5**0.5 + 0.01, 0.99 * 0.5**0.5])
    assert store.vectors[1].tolist() == pytest.approx((expected / np.linalg.norm(expected)).tolist())


def test_proto_instances_are_the_nearest_of_other_classes() -> None:
    prototypes, known = rows([1, 0], [0, 1], [0, 0]), torch.tensor([True, True, False])
    stored, labels = rows([1, 0], [0.8, 0.6], [-1, 0], [0, -1]), torch.tensor([0, 1, 1, 2])
    mixed, theirs = proto_instances(prototypes, known, stored, labels, 2)
    assert theirs.tolist() == [1, 2, 0, 2]  # for class 0: rows 1 and 3; for class 1: rows 0 and 3
    assert torch.allclose(mixed[0], rows(1.8, 0.6) / rows(1.8, 0.6).norm())
    nothing, none = proto_instances(prototypes, known, stored[:0], labels[:0], 8)
    assert nothing.shape == (0, 2) and len(none) == 0


@pytest.mark.parametrize(
    ("asked", "images", "batch", "slots"),
    [(None, 5000, 128, 1024), (None, 5000, 48, 1008), (None, 24, 7, 21), (None, 24, 64, 24), (10, 24, 8, 10)],
)
def test_queue_size(asked: int | None, images: int, batch: int, slots: int) -> None:
    assert queue_size(asked, images, batch) == slots


def test_a_queue_longer_than_the_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1024 slots.*24 training images.*--set classifier\.queue=24"):
        tiny_run(tmp_path, classifier={"name": "proco-proto", "queue": 1024})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be a number above 0, got 0"),
        ({"queue": -1}, "queue must be a whole number of at least 1, got -1"),
        ({"proto_momentum": 1.1}, "at most 1, got 1.1"),
        ({"hard": 0}, "hard must be a whole number of at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", "proco-proto", **options)


def test_learns_and_keeps_its_memory(tmp_path: Path) -> None:
    run, score = accuracy(tmp_path / "run", classifier="proco-proto")
    assert score > 0.6
    *_, twin, queue, prototypes = run.classifier.net
    assert len(queue.filled()[1]) == 24
    assert torch.allclose(prototypes.vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    trained = {id(p) for group in run.classifier.parameter_groups() for p in group["params"]}
    assert trained.isdisjoint(id(p) for p in twin.parameters())
    assert returns(run, tmp_path, "proco-proto")


@pytest.mark.parametrize("batch_size", [2, 7])
def test_small_and_odd_batches_fill_the_ring(tmp_path: Path, batch_size: int) -> None:
    spec = {"name": "proco-proto", "queue": 9}
    run, _ = tiny_run(tmp_path, classifier=spec, protocol={"batch_size": batch_size, "epochs": 1}, num_classes=2)
    assert len(run.classifier.net[4].filled()[1]) == 9 and np.isfinite(run.history[0]["loss"])


def test_the_method_says_that_it_is_assumed() -> None:
    draft, _ = resolve("proco-proto", "digits-lt", "quick")
    assert draft.fidelity["method"] == "assumed"
