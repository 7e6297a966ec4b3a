"""The iteration of CellGAN: the average, lazy R1, resume, what it learns and when it stops."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from ltbench_cellgan.layers import rescale, settle
from ltbench_cellgan.losses import r1_penalty, reconstruction
from ltbench_cellgan.networks import CODE, CellDiscriminator, CellGenerator
from ltbench_cellgan.options import TIERS
from ltbench_cellgan.training import CellTraining, copy_weights
from torch import Tensor, nn

torch.set_num_threads(1)
OPTIONS: dict[str, Any] = {
    "lr": 2.5e-4,
    "r1": 0.01,
    "r1_every": 16,
    "ema": 0.9,
    "ema_start": 3,
    "misaligned_crops": False,
    "stale_average": False,
}


def networks(side: int = 16) -> tuple[CellGenerator, CellDiscriminator]:
    torch.manual_seed(0)
    return CellGenerator(side, 1, 2, width=2), CellDiscriminator(side, 1, 2, width=2)


def draw(n: int) -> Tensor:
    return torch.randint(0, 2, (n,))


def iterate(training: CellTraining, steps: range) -> None:
    for i in steps:
        torch.manual_seed(i)
        training.step(i, torch.rand(4, 1, 16, 16) * 2 - 1, draw(4), draw, nullcontext)


def test_another_start_gain_scales_raw_weights_and_leaves_the_outputs() -> None:
    g, d = networks()
    z, labels, x = torch.randn(3, CODE), torch.tensor([0, 1, 1]), torch.rand(3, 1, 16, 16)
    others = copy.deepcopy(g), copy.deepcopy(d)
    for network, other in zip((g, d), others, strict=True):
        rescale(other, 0.5)
        settle(network)
        settle(other)
    raw, scaled = (net.start.parametrizations.weight.original for net in (g, others[0]))
    assert torch.allclose(scaled, 25 * raw)
    with torch.no_grad():
        assert torch.allclose(g(z, labels), others[0](z, labels), rtol=1e-3, atol=1e-6)
        assert torch.allclose(d(x, labels), others[1](x, labels), rtol=1e-3, atol=1e-6)


def test_classes_are_learned_with_the_options_of_the_tiny_tier() -> None:
    """Four half-bright images after 100 iterations; share of right ones: 1.0, with paper's values 0.22, chance 0.25."""
    tiny = TIERS["tiny"]
    torch.manual_seed(0)
    g = CellGenerator(8, 1, 4, width=4, class_norm=tiny["class_norm"])
    d = CellDiscriminator(8, 1, 4, width=4)
    for network in (g, d):
        rescale(network, tiny["start_gain"])
    training = CellTraining(g, d, {**OPTIONS, "lr": tiny["lr"], "ema_start": 0})
    halves = torch.full((4, 1, 8, 8), -0.8)
    halves[0, :, :, :4] = halves[1, :, :, 4:] = halves[2, :, :4] = halves[3, :, 4:] = 0.8
    for i in range(100):
        torch.manual_seed(i)
        labels = torch.randint(0, 4, (32,))
        real = (halves[labels] + 0.1 * torch.randn(32, 1, 8, 8)).clamp(-1, 1)
        training.step(i, real, labels, lambda n: torch.randint(0, 4, (n,)), nullcontext)
    training.prepare()
    wanted = torch.arange(4).repeat(50)
    with torch.no_grad():
        made = training.average(torch.randn(200, CODE), wanted)
    nearest = (made[:, None] - halves[None]).square().flatten(2).sum(2).argmin(1)
    assert float((nearest == wanted).float().mean()) > 0.9


def test_the_average_starts_from_the_weights_of_its_start() -> None:
    fresh, stale = (CellTraining(*networks(), {**OPTIONS, "stale_average": flag}) for flag in (False, True))
    start = [p.detach().clone() for p in fresh.g.parameters()]
    for training in (fresh, stale):
        iterate(training, range(3))
    now = list(fresh.g.parameters())
    assert all(torch.equal(a, b) for a, b in zip(fresh.average.parameters(), now, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(stale.average.parameters(), start, strict=True))
    iterate(stale, range(3, 4))
    for kept, old, new in zip(stale.average.parameters(), start, stale.g.parameters(), strict=True):
        assert torch.allclose(kept, 0.9 * old + 0.1 * new, atol=1e-7)


@pytest.mark.parametrize(("updates", "left"), [(1000, 0.367695424771), (5000, 0.006721111960)])
def test_what_a_stale_average_keeps_of_its_start(updates: int, left: float) -> None:
    average, zero = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()
    with torch.no_grad():
        average.weight.fill_(1.0)
        zero.weight.fill_(0.0)
    for _ in range(updates):
        copy_weights(average, zero, 1 - 0.999)
    assert average.weight.item() == pytest.approx(left, abs=1e-10)


def test_copies_and_reloads_are_bit_equal() -> None:
    training = CellTraining(*networks(), OPTIONS)
    iterate(training, range(5))
    training.prepare()
    other = CellGenerator(16, 1, 2, width=2)
    other.load_state_dict(training.average.state_dict())
    z, labels = torch.randn(2, CODE), torch.tensor([0, 1])
    with torch.no_grad():
        images = [net(z, labels) for net in (training.average, copy.deepcopy(training.average), other.eval())]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])
    for block in training.average.blocks.values():  # the singular vectors fit the averaged weights
        assert float(torch.linalg.matrix_norm(block.conv.weight.flatten(1), 2)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("every", "due"), [(1, [0, 1, 2, 3]), (2, [0, 2])])
def test_r1_is_lazy_and_keeps_its_mean_weight(every: int, due: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A penalty that is 3 whatever the weights adds 3 r1 every to the loss of its turns, so 3 r1 in the mean."""
    monkeypatch.setattr(
        "ltbench_cellgan.training.r1_penalty", lambda logits, images: 3 + 0 * r1_penalty(logits, images)
    )

    def losses(r1: float) -> list[float]:
        training = CellTraining(*networks(), {**OPTIONS, "r1": r1, "r1_every": every, "lr": 1e-30})
        seen: list[float] = []
        move = training._move

        def watched(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
            if optimizer is training.adam_d:
                seen.append(float(loss.detach()))
            move(optimizer, loss)

        monkeypatch.setattr(training, "_move", watched)
        iterate(training, range(4))
        return seen

    added = [a - b for a, b in zip(losses(10.0), losses(0.0), strict=True)]
    assert added == pytest.approx([30.0 * every if i in due else 0.0 for i in range(4)], abs=0.5)


def test_a_resumed_training_equals_an_uninterrupted_one() -> None:
    whole, first, second = (CellTraining(*networks(), OPTIONS) for _ in range(3))
    iterate(whole, range(6))
    iterate(first, range(3))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    iterate(second, range(3, 6))
    for name in ("g", "d", "average"):
        pairs = zip(
            getattr(whole, name).state_dict().values(), getattr(second, name).state_dict().values(), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(whole.levels, second.levels)


def test_the_decoders_learn() -> None:
    training = CellTraining(*networks(), {**OPTIONS, "lr": 2e-3})
    x = (torch.rand(16, 1, 1, 1) * 2 - 1).expand(-1, -1, 16, 16).contiguous()

    def loss() -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            return float(reconstruction(training.d, x, *training.d.features(x)))

    before = loss()
    for i in range(40):
        torch.manual_seed(i)
        training.step(i, x, draw(16), draw, nullcontext)
    assert loss() < 0.8 * before


def test_nan_and_a_lost_game_stop_training() -> None:
    training = CellTraining(*networks(), OPTIONS)
    with torch.no_grad():
        training.d.head.parametrizations.weight.original.fill_(torch.nan)
    iterate(training, range(16))
    assert "mean logits are nan" in training.stopped
    training = CellTraining(*networks(), OPTIONS)
    training.levels = torch.tensor([4.0, -4.0])
    iterate(training, range(16))
    assert "has won at iteration 15" in training.stopped
