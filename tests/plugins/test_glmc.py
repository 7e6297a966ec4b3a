"""GLMC: the vectors, CutMix, the schedule, the paired sampler, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from longtail_support import COUNTS, YA, Z, accuracy, returns, rows
from ltbench_longtail.glmc import class_weights, cumulative, cut_box, cut_mix, disagreement, soft_labels
from torch.nn import functional as F

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import EpochView
from ltbench.testing import tiny_context, tiny_run

OTHER = torch.tensor([3, 2, 1, 0])


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1.0, [0.01769912, 0.08849558, 0.35398230, 3.53982301]),
        (1.2, [0.00643718, 0.04440786, 0.23438607, 3.71476889]),
        (0.0, [1, 1, 1, 1]),
    ],
)
def test_class_weights(k: float, expected: list[float]) -> None:
    assert class_weights(COUNTS, k).tolist() == pytest.approx(expected, abs=1e-8)


def test_soft_cross_entropies_and_their_schedule() -> None:
    plain = F.cross_entropy(Z, soft_labels(YA, OTHER, 0.7, torch.ones(4, dtype=torch.float64))).item()
    weighted = F.cross_entropy(Z, soft_labels(YA, OTHER, 0.7, class_weights(COUNTS, 1.0))).item()
    a = cumulative(100, 200)
    assert plain == pytest.approx(1.34231263, abs=1e-8) and weighted == pytest.approx(1.83965047, abs=1e-8)
    assert a == 0.75 and a * plain + (1 - a) * weighted == pytest.approx(1.46664709, abs=1e-8)
    assert cumulative(0, 200) == 1 and 0 < cumulative(199, 200) < 0.01


def test_disagreement_stops_the_gradient_of_projections() -> None:
    p, z = rows([1, 2], [0, 1]).requires_grad_(), rows([2, 1], [1, 1]).requires_grad_()
    value = disagreement(p, z)
    value.backward()
    assert value.item() == pytest.approx(-0.75355339, abs=1e-8)
    assert z.grad is None and p.grad is not None
    assert torch.autograd.gradcheck(lambda q: disagreement(q, z), p)


@pytest.mark.parametrize("share", [0.0, 0.19, 0.5, 0.9, 1.0])
def test_a_central_box_covers_one_minus_the_share(share: float) -> None:
    rows_, columns = cut_box(64, 48, share, (32, 24))
    area = (rows_.stop - rows_.start) * (columns.stop - columns.start) / (64 * 48)
    assert area == pytest.approx(1 - share, abs=0.06)


def test_a_box_is_clipped_at_the_border() -> None:
    assert cut_box(16, 16, 0.75, (0, 15)) == (slice(0, 4), slice(11, 16))
    for seed in range(50):
        rng = np.random.default_rng(seed)
        box = cut_box(9, 7, float(rng.beta(1, 1)), (int(rng.integers(9)), int(rng.integers(7))))
        assert all(0 <= s.start <= s.stop <= n for s, n in zip(box, (9, 7), strict=True))


def test_cut_mix_copies() -> None:
    first, second = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    out = cut_mix(first, second, (slice(1, 3), slice(0, 2)))
    assert out.sum() == 8 and first.sum() == 0 and (out[:, :, 1:3, 0:2] == 1).all()


def view(counts: list[int], batch_size: int) -> EpochView:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return EpochView(labels, np.zeros(len(labels), bool), 0, 5, batch_size, len(counts))


@pytest.mark.parametrize("batch_size", [7, 8, 50])
def test_paired_halves(batch_size: int) -> None:
    seen = view([14, 8, 3], batch_size)
    plan = ltbench.build("sampler", "paired").plan(seen, {}, np.random.default_rng(0))[0].check(seen)
    batches = np.split(plan.rows, np.cumsum(plan.sizes)[:-1])
    natural = np.concatenate([batch[: len(batch) // 2] for batch in batches])
    assert sorted(natural) == list(range(25)) and (plan.sizes % 2 == 0).all()
    assert max(plan.sizes) <= 2 * (batch_size + 1)


def test_paired_weights() -> None:
    seen = view([4000, 400], 64)
    sampler = ltbench.build("sampler", "paired", resample_weighting=1.0)
    plan = sampler.plan(seen, {}, np.random.default_rng(0))[0]
    batches = np.split(plan.rows, np.cumsum(plan.sizes)[:-1])
    weighted = np.concatenate([batch[len(batch) // 2 :] for batch in batches])
    assert np.mean(seen.labels[weighted]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "id", "options", "message"),
    [
        ("classifier", "glmc", {"beta": 0}, "beta must be a number above 0"),
        ("classifier", "glmc", {"dim": 2.5}, "dim must be a whole number of at least 1"),
        ("classifier", "glmc", {"consistency": -1}, "consistency must be a number of at least 0"),
        ("sampler", "paired", {"resample_weighting": -0.2}, "resample_weighting must be a number of at least 0"),
    ],
)
def test_bad_options(kind: str, id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build(kind, id, **options)


def test_learns_and_predicts_with_the_re_balanced_head(tmp_path: Path) -> None:
    run, score = accuracy(tmp_path / "run", epochs=16, classifier="glmc", sampler="paired")
    assert score > 0.6
    assert all(line["images"] == 48 for line in run.history)
    backbone, balanced, *_ = run.classifier.net.eval()
    x = torch.rand(2, 3, 16, 16)
    assert torch.allclose(run.classifier.logits(x), balanced(backbone(run.classifier.prepare(x))))
    assert returns(run, tmp_path, "glmc")


@pytest.mark.parametrize(("sampler", "batch_size"), [("instance", 7), ("instance", 3), ("paired", 2)])
def test_odd_and_small_batches(tmp_path: Path, sampler: str, batch_size: int) -> None:
    glmc = {"name": "glmc", "exact_area": True}
    run, _ = tiny_run(tmp_path, classifier=glmc, sampler=sampler, protocol={"batch_size": batch_size, "epochs": 1})
    assert np.isfinite(run.history[0]["loss"])


def test_halves_of_ordinary_batches_draw_a_warning(tmp_path, caplog):
    for sampler in ("paired", "instance"):
        context = tiny_context(tmp_path / sampler, classifier="glmc", sampler=sampler)
        context.component("classifier").setup(context)
        assert ("gives no paired batches" in caplog.text) == (sampler == "instance")
