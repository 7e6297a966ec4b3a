"""CellGAN: layers against numbers worked out by hand, exact sizes, parity options, kills and bad input."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_cellgan.generator import CellGAN
from ltbench_cellgan.layers import GlobalContext, adaptive_norm, conv, normed, plain, pooled, rescale, settle
from ltbench_cellgan.losses import augmented, hinge, r1_penalty, reconstruction, shifted
from ltbench_cellgan.networks import CODE, CellDiscriminator, CellGenerator, context_pairs, patch_logits
from ltbench_cellgan.options import TIERS
from ltbench_cellgan.training import CellTraining, copy_weights
from torch import Tensor, nn
from torch.nn import functional as F

import ltbench
from ltbench.errors import ContractError, DataError, NonFinite, UserError
from ltbench.interfaces import ImageTable
from ltbench.recipe import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options

torch.set_num_threads(1)
F64 = torch.float64
OPTIONS: dict[str, Any] = {
    "lr": 2.5e-4,
    "r1": 0.01,
    "r1_every": 16,
    "ema": 0.9,
    "ema_start": 3,
    "misaligned_crops": False,
    "stale_average": False,
}


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_adaptive_instance_norm() -> None:
    x = f64([[[[1, 3], [5, 7]], [[2, 2], [2, 6]]]])
    y = adaptive_norm(x, f64([[0.5, -1]]), f64([[1, 0]]))[0]
    expected = [[-1.012459167291650, 0.329180277569450], [1.670819722430550, 3.012459167291650]]
    assert torch.allclose(y[0], f64(expected), rtol=0, atol=1e-13)
    assert torch.equal(y[1], torch.zeros(2, 2, dtype=F64))


def test_global_context() -> None:
    f = f64([[[[1, 2], [3, 4]], [[0, -1], [1, 0]]]])
    logits = (f * f64([0.5, -1])[None, :, None, None]).sum(1, keepdim=True)
    weights = logits.flatten().softmax(0)
    expected = [0.091212761903178, 0.408787238096822, 0.091212761903178, 0.408787238096822]
    assert torch.allclose(weights, f64(expected), rtol=0, atol=1e-14)
    vector = pooled(f, logits)
    assert torch.allclose(vector.flatten(), f64([2.817574476193644, -0.317574476193644]), rtol=0, atol=1e-14)
    hidden = F.leaky_relu(vector.flatten() @ f64([1, -1]), 0.2)
    added = hidden * f64([2, -0.5, 1])
    assert torch.allclose(added, f64([6.270297904774575, -1.567574476193644, 3.135148952387287]), rtol=0, atol=1e-14)
    assert torch.allclose(pooled(f, torch.zeros_like(logits)).flatten(), f64([2.5, 0]))


def test_the_context_block_adds_one_vector_to_every_pixel() -> None:
    torch.manual_seed(0)
    block = GlobalContext(2, 8).double().eval()
    small, big = torch.randn(2, 2, 4, 4, dtype=F64), torch.randn(2, 8, 6, 6, dtype=F64)
    added = block(small, big) - big
    assert torch.allclose(added, added[..., :1, :1].expand_as(added), atol=1e-12) and added.abs().max() > 0
    vector = pooled(small, F.conv2d(small, block.attention.weight))
    by_hand = F.conv2d(F.leaky_relu(F.conv2d(vector, block.transform[0].weight), 0.2), block.transform[2].weight)
    assert torch.allclose(added[..., :1, :1], by_hand, atol=1e-12)


def test_hinge_losses() -> None:
    real, fake = f64([1.5, 0.2, -0.7]), f64([-2, 0.1, 0.9])
    assert hinge(real, real=True).item() == pytest.approx(0.833333333333)
    assert hinge(fake, real=False).item() == pytest.approx(1.0)
    assert -fake.mean().item() == pytest.approx(0.333333333333)


def test_patch_logits_with_projection() -> None:
    features = (torch.arange(8, dtype=F64) / 4).view(1, 2, 2, 2)
    head = (features * f64([0.3, 0.1])[None, :, None, None]).sum(1, keepdim=True)
    logits = patch_logits(head, features, f64([[1, -0.5]]))
    assert torch.allclose(logits[0], f64([[-0.4, -0.175], [0.05, 0.275]]), rtol=0, atol=1e-14)


def test_power_iteration_of_the_spectral_norm() -> None:
    layer = nn.Linear(2, 2, bias=False).double()
    layer = nn.utils.parametrizations.spectral_norm(layer, eps=1e-4)
    raw = f64([[3, 0], [4, 5]]).T.contiguous()  # the first half-step of the worked numbers uses the transpose
    layer.parametrizations.weight.original.data.copy_(raw)
    layer.parametrizations.weight[0]._v.copy_(f64([1, 0]))
    estimates = []
    with torch.no_grad():
        for _ in range(5):
            estimates.append((raw[0, 0] / layer.weight[0, 0]).item())
    assert estimates == pytest.approx([5.0, (1825 / 41) ** 0.5, 6.707749570, 6.708198322, 6.708203863], abs=5e-10)
    settle(layer)
    assert torch.linalg.svdvals(layer.weight.detach()).tolist() == pytest.approx([1, 1 / 3])  # sqrt5 / 3 sqrt5


def test_weights_start_small_and_normalised() -> None:
    torch.manual_seed(0)
    layer = conv(256, 256, 3)
    raw = layer.parametrizations.weight.original.detach()
    assert float(raw.std()) == pytest.approx(4.2e-4, rel=0.02)
    norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
    assert float(norm) == pytest.approx(1.0, abs=0.1)
    assert torch.equal(normed(nn.Linear(4, 4)).bias.detach(), torch.zeros(4))


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


@pytest.mark.parametrize("class_norm", [True, False])
def test_spectral_norm_bounds_how_far_classes_can_differ(class_norm: bool) -> None:
    torch.manual_seed(0)
    g = CellGenerator(8, 1, 3, width=2, class_norm=class_norm)
    layers = [*g.mapping[::2], g.blocks["8"].scale]
    with torch.no_grad():
        for layer in layers:  # as after training that did what it could to tell classes apart
            raw = layer.parametrizations.weight.original if class_norm else layer.weight
            raw.mul_(100)
    settle(g)
    with torch.no_grad():
        shifts = g.blocks["8"].scale(g.mapping(torch.eye(3)))
    apart = float(torch.pdist(shifts).max())
    assert apart <= 2**0.5 * 1.01 if class_norm else apart > 100  # inputs of norm 1, each map at most 1-Lipschitz


def test_plain_layers_keep_the_variance() -> None:
    torch.manual_seed(0)
    layer = plain(nn.Linear(400, 400))
    with torch.no_grad():
        assert float(F.leaky_relu(layer(torch.randn(2000, 400)), 0.2).square().mean()) == pytest.approx(1, rel=0.02)
    assert not layer.bias.detach().any()


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


def test_r1_of_the_sum_of_patch_logits() -> None:
    a = f64([[1, 2], [0, -1], [3, 1]])  # three patch logits, linear in two pixels
    x = f64([[0.3, -0.2], [1, 1]]).requires_grad_()
    assert r1_penalty((x @ a.T).view(2, 3, 1), x).tolist() == pytest.approx([20, 20])  # (4, 2) squared
    mean = r1_penalty((x @ a.T).mean(1).view(2, 1, 1), x)
    assert mean.tolist() == pytest.approx([20 / 9] * 2)  # the sum's penalty over patches squared


def test_parameter_counts_at_256_px() -> None:
    g, d = CellGenerator(256, 3, 5), CellDiscriminator(256, 3, 5)
    assert (size(g), size(g.contexts), size(d)) == (6_090_336, 28_928, 7_267_872)
    assert d.crop_decoder is not None
    assert size(d.crop_decoder) + size(d.whole_decoder) == 1_144_512
    assert size(g) - size(CellGenerator(256, 3, 5, context=False)) == 28_928


def test_pairs_of_the_global_context() -> None:
    assert context_pairs(256) == [(8, 64), (16, 128), (32, 256)]
    assert context_pairs(128) == [(4, 32), (8, 64), (16, 128)]
    assert context_pairs(64) == [(4, 16), (4, 32), (8, 64)]
    assert context_pairs(16) == [(4, 8), (4, 16)]
    assert context_pairs(8) == [(4, 8)]


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(side: int, channels: int) -> None:
    torch.manual_seed(0)
    g, d = CellGenerator(side, channels, 3, width=2), CellDiscriminator(side, channels, 3, width=2)
    labels = torch.tensor([0, 2])
    x = g(torch.randn(2, CODE), labels)
    last, penultimate = d.features(x)
    patch = 8 if side >= 64 else 4
    assert x.shape == (2, channels, side, side) and float(x.detach().abs().max()) <= 1
    assert d(x, labels).shape == (2, patch, patch)
    assert last.shape[2:] == (patch, patch) and penultimate.shape[2:] == (2 * patch, 2 * patch)
    assert d.whole_decoder(last).shape == (2, channels, side // 2, side // 2)
    assert (d.crop_decoder is None) == (side == 8)
    for misaligned in (False, True):
        assert reconstruction(d, x.detach(), last, penultimate, misaligned=misaligned).isfinite()


def test_the_class_and_z_reach_the_image() -> None:
    torch.manual_seed(0)
    g = CellGenerator(16, 1, 3, width=4).eval()
    z = torch.randn(1, CODE)
    with torch.no_grad():
        one, same, other = g(z, torch.tensor([0])), g(z, torch.tensor([0])), g(z, torch.tensor([1]))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert not torch.equal(one, g(-z, torch.tensor([0])).detach())


@pytest.mark.parametrize(("side", "aligned"), [(16, True), (64, True), (64, False)])
def test_crops_of_image_and_features(side: int, aligned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders that give their features back show which part of the feature map is compared with which pixels."""
    torch.manual_seed(0)
    d = CellDiscriminator(side, 1, 2, width=2)
    stride = side // (2 * d.last)
    grid = torch.arange(2.0 * d.last)
    penultimate = (1000 * grid[:, None] + grid)[None, None]  # each pixel holds its place
    x = F.interpolate(penultimate, scale_factor=stride, mode="nearest")
    half = side // 2

    class Grow(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return F.interpolate(features, size=(half, half), mode="nearest")

    d.crop_decoder, d.whole_decoder = Grow(), Grow()
    last = F.interpolate(x, size=(half, half), mode="nearest")
    losses = []
    for _ in range(60):
        losses.append(float(reconstruction(d, x, last, penultimate, misaligned=not aligned)))
    assert max(losses) == 0 if aligned else max(losses) > 0


def test_augmentation_is_of_each_image() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3, 16, 16, dtype=F64).requires_grad_()
    y = augmented(x)
    assert y.shape == x.shape
    (gradient,) = torch.autograd.grad(y[3].sum(), x)
    assert gradient[3].abs().sum() > 0 and gradient[:3].abs().sum() == 0 and gradient[4:].abs().sum() == 0
    grey = augmented(torch.full((2000, 1, 8, 8), 0.1, dtype=F64))
    level = grey.amax((1, 2, 3))  # a constant image keeps its level but for brightness and the empty border
    moved = torch.where(level > 0, level, grey.amin((1, 2, 3))) - 0.1
    assert float(moved.abs().max()) <= 0.5 + 1e-9 and abs(float(moved.std()) - 1 / 12**0.5) < 0.02
    assert torch.allclose(grey.flatten(1).std(1)[(grey != 0).flatten(1).all(1)], torch.zeros((), dtype=F64), atol=1e-9)


def test_translation_by_whole_pixels() -> None:
    x = torch.randn(3, 2, 5, 5, dtype=F64)
    y = shifted(x, torch.tensor([[0, 0], [1, 0], [-2, 1]]))
    assert torch.equal(y[0], x[0])
    assert torch.equal(y[1, :, 1:], x[1, :, :-1]) and not y[1, :, 0].any()
    assert torch.equal(y[2, :, :-2, 1:], x[2, :, 2:, :-1]) and not y[2, :, -2:].any() and not y[2, :, :, 0].any()
    torch.manual_seed(0)
    bright = augmented(torch.ones(500, 1, 16, 16) * 5)
    empty = (bright == 0).all(3).sum(2).flatten()  # empty rows
    assert int(empty.max()) == 2  # floor(16 / 8 + 1 / 2)


def networks(side: int = 16) -> tuple[CellGenerator, CellDiscriminator]:
    torch.manual_seed(0)
    return CellGenerator(side, 1, 2, width=2), CellDiscriminator(side, 1, 2, width=2)


def draw(n: int) -> Tensor:
    return torch.randint(0, 2, (n,))


def iterate(training: CellTraining, steps: range) -> None:
    for i in steps:
        torch.manual_seed(i)
        training.step(i, torch.rand(4, 1, 16, 16) * 2 - 1, draw(4), draw, nullcontext)


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
    seen: list[int] = []
    training, clock = CellTraining(*networks(), {**OPTIONS, "r1_every": every}), [0]

    def spy(logits: Tensor, images: Tensor) -> Tensor:
        seen.append(clock[0])
        return r1_penalty(logits, images)

    monkeypatch.setattr("ltbench_cellgan.training.r1_penalty", spy)
    for i in range(4):
        clock[0] = i
        iterate(training, range(i, i + 1))
    assert seen == due


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


class Killed(Exception):
    """Stands for a signal."""


def spec(**given: Any) -> dict[str, Any]:
    return tiny_options("generator", "cellgan", **{"snapshot_kimg": 0, **given})


def fitted(folder: Path, protocol: dict[str, Any] | None = None, **given: Any) -> Any:
    context = tiny_context(folder, generator=spec(**given), protocol=protocol)
    generator = ltbench.build("generator", spec(**given))
    context.fit(generator, spec(**given))
    return generator


def sampled(generator: Any, counts: tuple[int, ...] = (3, 0, 4), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return generator.sample(np.array(counts), guide=None, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(("side", "drawn"), [(8, 8), (28, 28), (70, 32)])
def test_exact_counts_at_every_size(tmp_path: Path, side: int, drawn: int) -> None:
    generator = fitted(tmp_path, {"image_size": side, "stored_size": side}, max_size=32, kimg=0.01)
    images, labels = sampled(generator)
    assert images.shape == (7, drawn, drawn, 3) and images.dtype == np.uint8
    assert np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    assert set(generator.notes()) == {"saturated", "dropped", "stopped", "real_logit", "fake_logit"}
    assert sampled(generator, (0, 0, 0))[0].shape == (0, drawn, drawn, 3)


def test_images_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    generator = fitted(tmp_path)
    images, labels = sampled(generator)
    generator.options["sample_batch"] = 2
    assert np.abs(images.astype(int) - sampled(generator)[0].astype(int)).max() <= 1
    more, more_labels = sampled(generator, (5, 1, 4))
    difference = images[labels == 0].astype(int) - more[more_labels == 0][:3].astype(int)
    assert np.abs(difference).max() <= 1
    assert not np.array_equal(images, sampled(generator, seed=1)[0])


@pytest.mark.parametrize("moment", [1, 5])
def test_a_killed_fit_goes_on_bit_for_bit(tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"kimg": 0.064, "snapshot_kimg": 0.016}
    whole = fitted(tmp_path / "whole", **given)
    monkeypatch.setattr("ltbench.engine.fits.SAVE_EVERY", 0.0)
    step, steps = CellTraining.step, []

    def kill(self: CellTraining, i: int, *rest: Any) -> None:
        if i == moment and not steps:
            raise Killed
        step(self, i, *rest)

    monkeypatch.setattr(CellTraining, "step", kill)
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", **given)
    steps.append(moment)
    resumed = fitted(tmp_path / "killed", **given)
    assert np.array_equal(sampled(whole)[0], sampled(resumed)[0])
    assert whole.notes() == resumed.notes()


def test_a_broken_fit_without_a_snapshot_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = CellTraining.step

    def poisoned(self: CellTraining, i: int, *rest: Any) -> None:
        if i == 9:
            self.levels.fill_(torch.nan)
        step(self, i, *rest)

    monkeypatch.setattr(CellTraining, "step", poisoned)
    with pytest.raises(NonFinite, match=r"mean logits are nan.*before any good snapshot; lower generator.lr"):
        fitted(tmp_path / "a", kimg=0.2)
    with pytest.warns(UserWarning, match=r"kept the snapshot after 0.064 thousand images"):
        generator = fitted(tmp_path / "b", kimg=0.2, snapshot_kimg=0.064)
    assert generator.notes()["stopped"] == 1.0 and len(sampled(generator)[0]) == 7


def test_flips_follow_the_protocol(tmp_path: Path) -> None:
    generator = CellGAN()
    context = tiny_context(tmp_path, protocol={"augment": {"flip": True, "vertical_flip": False}})
    assert {k: generator.resolved({"hflip": None, "vflip": None}, context)[k] for k in ("hflip", "vflip")} == {
        "hflip": True,
        "vflip": False,
    }
    assert generator.resolved({"hflip": False, "vflip": True}, context) == {"hflip": False, "vflip": True}


def test_a_class_without_images_and_wrong_counts(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, generator=spec())
    table = context.train
    kept = table.labels != 1
    context.train = ImageTable(table.images[kept], table.labels[kept], table.ids[kept], table.groups[kept])
    with pytest.raises(DataError, match="class 'class-1' has no training image"):
        context.fit(ltbench.build("generator", spec()), spec())
    with pytest.raises(ContractError, match="counts must be 3 whole numbers >= 0"):
        sampled(fitted(tmp_path / "b", kimg=0.01), (1, 1))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", 24),
        ("max_size", 512),
        ("width", 0),
        ("kimg", 0),
        ("lr", -1),
        ("ema", 1),
        ("ema_start", -1),
        ("r1", float("inf")),
        ("r1_every", 0),
        ("label_power", 2),
        ("hflip", "yes"),
        ("misaligned_crops", None),
        ("stale_average", 1),
        ("context", "no"),
        ("class_norm", 1),
        ("start_gain", 0),
        ("snapshot_kimg", -1),
    ],
)
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"generator\.{option} must be"):
        ltbench.build("generator", "cellgan", **{option: value})


def test_parity_options_are_off_and_tiers_build() -> None:
    defaults = CellGAN().options
    assert not defaults["misaligned_crops"] and not defaults["stale_average"] and defaults["r1_every"] == 16
    assert defaults["class_norm"] and defaults["start_gain"] == 0.02
    for tier in TIERS.values():
        ltbench.build("generator", "cellgan", **tier)
    assert set(defaults) - CellGAN.fit_options == {"sample_batch"}
    assert resolve("cellgan", "digits-lt", "quick")[0].recipe["generator"]["name"] == "cellgan"
