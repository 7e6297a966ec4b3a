"""Objectives, regularisers and the iteration of StyleGAN2 against closed forms."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from ltbench_stylegan2.augment import Pipeline
from ltbench_stylegan2.discriminator import Discriminator
from ltbench_stylegan2.losses import (
    PathLength,
    discriminator_loss,
    ema_beta,
    finite_step,
    generator_loss,
    lazy_adam,
    path_lengths,
    r1_penalty,
    update_average,
)
from ltbench_stylegan2.synthesis import GeneratorNetwork
from ltbench_stylegan2.training import StyleGAN2Training as Training
from torch import Tensor, nn

torch.set_num_threads(1)
F64 = torch.float64
OPTIONS: dict[str, Any] = {
    "lr": 2.5e-3,
    "gamma": 1.0,
    "path_weight": 2.0,
    "style_mixing": 0.9,
    "ema_kimg": 0.1,
    "ema_ramp": 0.5,
    "ada_kimg": 0.5,
    "ada_target": 0.6,
    "ada_ceiling": 0.8,
}


def test_logistic_losses() -> None:
    logits = torch.tensor([-2, 0, 1.5], dtype=F64)
    real = [2.126928011042973, 0.693147180559945, 0.201413277982752]
    fake = [0.126928011042973, 0.693147180559945, 1.701413277982752]
    for i in range(3):
        assert discriminator_loss(logits[i : i + 1], real=True).item() == pytest.approx(real[i], abs=1e-14)
        assert generator_loss(logits[i : i + 1]).item() == pytest.approx(real[i], abs=1e-14)
        assert discriminator_loss(logits[i : i + 1], real=False).item() == pytest.approx(fake[i], abs=1e-14)
    assert generator_loss(logits).item() == pytest.approx(sum(real) / 3)


def test_r1_of_a_quadratic_discriminator() -> None:
    a, b = torch.tensor([[2, 1], [1, 3]], dtype=F64), torch.tensor([1, -1], dtype=F64, requires_grad=True)
    x = torch.tensor([[1, 0], [0, 2], [-1, 1]], dtype=F64, requires_grad=True)
    logits = ((x @ a) * x).sum(1) / 2 + x @ b
    assert logits.tolist() == pytest.approx([2, 4, -0.5])
    penalty = r1_penalty(logits, x)
    assert penalty.tolist() == pytest.approx([9, 34, 1])
    loss = 10 / 2 * penalty.mean()
    assert loss.item() == pytest.approx(73.3333333333) and 16 * loss.item() == pytest.approx(1173.3333333333)
    assert torch.autograd.grad(loss, b)[0].tolist() == pytest.approx([20, 20])


def test_path_lengths_of_a_linear_generator() -> None:
    j1 = torch.tensor([[1, 0, 2], [0, 1, -1], [1, 1, 0], [2, 0, 0]], dtype=F64)
    ws = torch.zeros(1, 2, 3, dtype=F64, requires_grad=True)
    image = (j1 @ ws[0, 0] + 0.5 * j1.flip(0) @ ws[0, 1]).view(1, 1, 2, 2)
    y = torch.tensor([1, -2, 0.5, 3], dtype=F64).view(1, 1, 2, 2) / 2
    assert path_lengths(image, ws, y).item() == pytest.approx(3.257203555198846, abs=1e-14)


def test_running_mean_of_path_lengths() -> None:
    path = PathLength(2.0)
    path.mean = path.mean.double()
    expected = [0.032572035552, 0.052246315196, 0.071723852045, 0.101006613524, 0.109996547389]
    penalties = []
    for length, mean in zip((3.257203555198846, 2, 2, 3, 1), expected, strict=True):
        penalties.append(path.penalty(torch.tensor([length], dtype=F64)).item())
        assert float(path.mean) == pytest.approx(mean, abs=1e-11)
    assert penalties[0] == pytest.approx(20.796496875, abs=1e-8)
    assert penalties[4] == pytest.approx(1.584212291320, abs=1e-11)


@pytest.mark.parametrize(
    ("interval", "lr", "beta2"),
    [(4, 0.002, 0.991991967822866), (16, 0.002352941176471, 0.990585457307433), (None, 0.0025, 0.99)],
)
def test_adam_is_corrected_for_lazy_regularisers(interval: int | None, lr: float, beta2: float) -> None:
    group = lazy_adam([nn.Parameter(torch.zeros(1))], 0.0025, interval).param_groups[0]
    assert group["lr"] == pytest.approx(lr, abs=1e-14) and group["betas"] == pytest.approx((0.0, beta2), abs=1e-14)
    assert group["weight_decay"] == 0 and group["eps"] == 1e-8


def test_decay_of_the_average() -> None:
    assert ema_beta(32, 10_000) == pytest.approx(0.997784387123889, abs=1e-14)
    assert ema_beta(64, 500_000) == pytest.approx(0.999911281096643, abs=1e-14)
    ramp = [ema_beta(32, 10_000, 0.05, seen) for seen in (0, 3200, 64_000, 400_000)]
    assert ramp == pytest.approx([0, 0.870550563296124, 0.993092495437036, 0.997784387123889], abs=1e-14)
    assert ema_beta(32, 0) == 0


def test_the_average_moves_parameters_and_copies_buffers() -> None:
    torch.manual_seed(0)
    net = GeneratorNetwork(8, 1, 2, latent=8, base=64, most=8)
    average = copy.deepcopy(net)
    start = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
        net.mapping.average.fill_(3.0)
    update_average(average, net, 0.9)
    for kept, old in zip(average.parameters(), start, strict=True):
        assert torch.allclose(kept, old + 0.1, atol=1e-5)
    assert torch.equal(average.mapping.average, net.mapping.average)
    update_average(average, net, 0.0)
    assert all(torch.allclose(a, b) for a, b in zip(average.parameters(), net.parameters(), strict=True))


def test_broken_gradients_do_not_break_weights() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    optimizer = torch.optim.SGD([weight], lr=1e-6)
    factors = torch.tensor([torch.nan, torch.inf, 2.0])
    finite_step(optimizer, (weight * factors).sum(), [weight])
    assert torch.allclose(weight, torch.tensor([1.0, 0.9, 1.0 - 2e-6]), atol=1e-8)


def networks(side: int = 8) -> tuple[GeneratorNetwork, Discriminator]:
    torch.manual_seed(0)
    return (
        GeneratorNetwork(side, 1, 2, latent=8, base=64, most=8),
        Discriminator(side, 1, 2, base=64, most=8, layers=2),
    )


def draw(n: int) -> Tensor:
    return torch.randint(0, 2, (n,))


def iterate(training: Training, steps: range, scale: float = 1.0) -> None:
    for i in steps:
        torch.manual_seed(i)
        training.step(i, scale * torch.randn(8, 1, 8, 8), draw(8), draw, nullcontext)


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def test_only_the_network_in_training_moves() -> None:
    training = Training(*networks(), OPTIONS, None)
    real, labels = torch.randn(8, 1, 8, 8), draw(8)
    phases = [
        (lambda: training._generator(labels, nullcontext), training.g),
        (lambda: training._path_length(labels), training.g),
        (lambda: training._discriminator(real, labels, labels, nullcontext), training.d),
        (lambda: training._r1(real, labels), training.d),
    ]
    for run, trained in phases:
        before = [weights(training.g), weights(training.d)]
        training._train_only(trained)
        run()
        moved = [
            any(not torch.equal(a, b) for a, b in zip(old, weights(net), strict=True))
            for old, net in zip(before, (training.g, training.d), strict=True)
        ]
        assert moved == [trained is training.g, trained is training.d]


def test_regularisers_run_at_the_first_iteration_and_at_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(*networks(), OPTIONS, Pipeline("c"))
    seen: dict[str, list[int]] = {"path": [], "r1": [], "adjust": []}
    clock = [0]
    monkeypatch.setattr(training, "_path_length", lambda labels: seen["path"].append((clock[0], len(labels))))
    monkeypatch.setattr(training, "_r1", lambda real, labels: seen["r1"].append(clock[0]))
    monkeypatch.setattr(training.control, "adjust", lambda images: seen["adjust"].append((clock[0], images)))
    for i in range(18):
        clock[0] = i
        iterate(training, range(i, i + 1))
    assert seen["path"] == [(i, 4) for i in (0, 4, 8, 12, 16)]  # half the batch
    assert seen["r1"] == [0, 16]
    assert seen["adjust"] == [(i, 32) for i in (3, 7, 11, 15)]
    assert training.images == 18 * 8


def test_noise_strengths_and_every_other_weight_are_trained() -> None:
    training = Training(*networks(), OPTIONS, None)
    before = {name: p.detach().clone() for name, p in [*training.g.named_parameters(), *training.d.named_parameters()]}
    iterate(training, range(2))
    after = dict([*training.g.named_parameters(), *training.d.named_parameters()])
    assert [name for name in before if torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize("pipeline", [None, "bgc"])
def test_a_resumed_training_equals_an_uninterrupted_one(pipeline: str | None) -> None:
    def fresh() -> Training:
        training = Training(*networks(), OPTIONS, Pipeline(pipeline) if pipeline else None)
        training.control.p = 0.3 if pipeline else 0.0
        return training

    whole, first, second = fresh(), fresh(), fresh()
    iterate(whole, range(12))
    iterate(first, range(6))
    state = copy.deepcopy(first.state_dict())
    second.load_state_dict(state)
    iterate(second, range(6, 12))
    for name in ("g", "d", "average"):
        pairs = zip(
            getattr(whole, name).state_dict().values(), getattr(second, name).state_dict().values(), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)
    assert whole.control.state_dict() == second.control.state_dict()
    assert torch.equal(whole.path.mean, second.path.mean) and whole.images == second.images
    if pipeline:
        assert whole.control.p != 0.3  # it moved, and both agree


def test_nan_and_a_collapsed_game_stop_training() -> None:
    training = Training(*networks(), OPTIONS, None)
    with torch.no_grad():
        training.g.synthesis.start.fill_(torch.nan)
    iterate(training, range(4))
    assert "loss is nan at iteration 3" in training.stopped
    training = Training(*networks(), OPTIONS, None)
    training.g_loss.fill_(50.0)
    iterate(training, range(4))
    assert "the discriminator has won" in training.stopped
    calm = Training(*networks(), OPTIONS, None)
    iterate(calm, range(8))
    assert calm.stopped == ""


def test_d_sees_everything_augmented() -> None:
    training, seen = Training(*networks(), OPTIONS, Pipeline("c")), []
    assert training.pipeline is not None
    training.control.p = 0.5
    real = training.pipeline.__class__.__call__

    class Spy(Pipeline):
        def __call__(self, x: Tensor, p: float) -> Tensor:
            seen.append(p)
            return real(self, x, p)

    training.pipeline = Spy("c")
    iterate(training, range(1))
    assert seen == [0.5] * 4  # fakes of the G step, fakes and reals of the D step, reals of R1
