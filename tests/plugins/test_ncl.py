"""NCL: the vectors of its parts and totals, hard classes, queues, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from longtail_support import COUNTS, YA, Z, accuracy, returns, rows, unit
from ltbench_longtail.ncl import hard_classes, hard_view, mutual, ncl_loss
from ltbench_longtail.parts import PriorCrossEntropy, Queue, contrast
from torch.nn import functional as F

import ltbench
from ltbench.errors import DataError, UserError
from ltbench.testing import tiny_run

Z2 = rows([1.8, 0.2, -0.5, 0.3], [0.1, 0.9, -0.2, 0.4], [1.1, 0.1, 0.6, -0.9], [0.7, 0.5, 0.1, -0.1])
RAW = torch.stack([Z, Z2])


def shifted(raw: torch.Tensor = RAW) -> torch.Tensor:
    prior = PriorCrossEntropy()
    prior.setup(class_counts=COUNTS, total_epochs=1)
    return prior.shift(raw)


def test_balanced_softmax_of_both_experts() -> None:
    b = shifted()
    assert 2 * F.cross_entropy(b.flatten(0, 1), YA.repeat(2)).item() == pytest.approx(5.65544113, abs=1e-8)


def test_hard_classes_hold_the_target_and_the_most_confusing() -> None:
    classes = hard_classes(Z, YA, 2)
    assert classes[:, 0].tolist() == YA.tolist()
    assert [set(row) for row in classes.tolist()] == [{0, 1}, {0, 1}, {0, 2}, {0, 3}]
    assert [set(row) for row in hard_classes(Z, YA, 4).tolist()] == [{0, 1, 2, 3}] * 4


@pytest.mark.parametrize(
    ("how", "hard", "mutually", "total"),
    [("restrict", 5.52739356, 0.00156349, 11.19219825), ("multiply", 5.52882029, 0.00159063, 11.19365213)],
)
def test_totals(how: str, hard: float, mutually: float, total: float) -> None:
    b = shifted()
    h, targets = hard_view(b, hard_classes(Z, YA, 2), how)
    assert 2 * F.cross_entropy(h.flatten(0, 1), targets.repeat(2)).item() == pytest.approx(hard, abs=1e-8)
    assert 0.6 * mutual(b).item() == pytest.approx(0.00780008, abs=1e-8)
    assert 0.6 * mutual(h).item() == pytest.approx(mutually, abs=1e-8)
    got = ncl_loss(RAW, b, YA, hard=2, distil=0.6, hcm=how).item()
    assert got == pytest.approx(total, abs=1e-8)


def test_mutual_is_the_sum_of_all_ordered_divergences() -> None:
    v = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logs = v.log_softmax(2)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    slow = sum((logs[j].exp() * (logs[j] - logs[i])).sum(1).mean() for i, j in pairs) / 2
    assert mutual(v).item() == pytest.approx(float(slow), abs=1e-12)
    assert mutual(v[:1].expand(3, -1, -1)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("how", ["restrict", "multiply"])
def test_gradient(how: str) -> None:
    def value(raw: torch.Tensor) -> torch.Tensor:
        return ncl_loss(raw, shifted(raw), YA, hard=2, distil=0.6, hcm=how)

    assert torch.autograd.gradcheck(value, RAW.clone().requires_grad_())


def test_two_classes_keep_both() -> None:
    raw, y = RAW[:, :, :2], torch.tensor([0, 1, 1, 0])
    b, _ = hard_view(raw, hard_classes(raw[0], y, 2), "restrict")
    assert b.shape == (2, 4, 2) and torch.isfinite(b).all()


def test_a_queue_is_a_ring_of_any_length() -> None:
    queue = Queue(5, 1)
    assert len(queue.filled()[1]) == 0
    for start in (0, 3, 6):
        number = torch.arange(start, start + 3)
        queue.push(number[:, None].float(), number)
    features, labels = queue.filled()
    assert sorted(labels.tolist()) == [4, 5, 6, 7, 8] and features[:, 0].tolist() == labels.tolist()
    queue.push(torch.arange(20.0)[:, None], torch.arange(20))
    assert sorted(queue.filled()[1].tolist()) == [15, 16, 17, 18, 19]


def test_instance_discrimination_is_a_softmax_over_the_own_key_and_the_queue() -> None:
    q, k, stored = unit(3, 4), unit(3, 4, seed=1), unit(5, 4, seed=2)
    own = torch.eye(3, 8, dtype=torch.bool)
    candidate = own | (torch.arange(8) >= 3)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ stored.T], 1) / 0.2
    slow = F.cross_entropy(logits, torch.zeros(3, dtype=torch.int64)).item()
    assert contrast(q, torch.cat([k, stored]), own, candidate, 0.2).item() == pytest.approx(slow, abs=1e-12)


def test_counts_of_zero_are_named() -> None:
    with pytest.raises(DataError, match="class 1 has no training image"):
        PriorCrossEntropy().setup(class_counts=[3, 0], total_epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 1}, "experts must be a whole number of at least 2"),
        ({"hcm": "drop"}, "hcm must be one of restrict, multiply"),
        ({"temperature": -0.1}, "temperature must be a number above 0, got -0.1"),
        ({"with_contrastive": True, "queue": 0}, "queue must be a whole number of at least 1"),
        ({"momentum": 1.5}, "at most 1, got 1.5"),
        ({"hard": 3}, "at most 1, got 3"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", "ncl", **options)


def test_learns_and_predicts_with_the_mean_of_raw_logits(tmp_path: Path) -> None:
    run, score = accuracy(tmp_path / "run", classifier="ncl")
    assert score > 0.6
    net = run.classifier.net.eval()
    x = torch.rand(2, 3, 16, 16)
    each = torch.stack([expert(run.classifier.prepare(x)) for expert in net.experts])
    assert torch.allclose(run.classifier.logits(x), each.mean(0)) and len(each) == 3
    assert not torch.allclose(each[0], each[1])
    assert returns(run, tmp_path, "ncl")


def test_contrastive_part_fills_its_queues(tmp_path: Path) -> None:
    options = {"with_contrastive": True, "queue": 13, "dim": 8, "experts": 2, "momentum": 0.9, "hcm": "multiply"}
    run, _ = tiny_run(tmp_path / "run", classifier={"name": "ncl", **options}, protocol={"batch_size": 7})
    features, labels = run.classifier.net.queues[1].filled()
    assert len(labels) == 13 and torch.allclose(features.norm(dim=1), torch.ones(13), atol=1e-5)
    assert all(not p.requires_grad for p in run.classifier.net.twins.parameters())
    assert returns(run, tmp_path, "ncl", **options)
