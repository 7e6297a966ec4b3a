"""Layers, losses and networks of CellGAN: numbers worked out by hand, exact sizes and shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ltbench_cellgan.layers import GlobalContext, adaptive_norm, conv, normed, plain, pooled, settle
from ltbench_cellgan.losses import augmented, hinge, r1_penalty, reconstruction, shifted
from ltbench_cellgan.networks import CODE, CellDiscriminator, CellGenerator, context_pairs, patch_logits
from torch import Tensor, nn
from torch.nn import functional as F

torch.set_num_threads(1)
F64 = torch.float64


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


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


def test_plain_layers_keep_the_variance() -> None:
    torch.manual_seed(0)
    layer = plain(nn.Linear(400, 400))
    with torch.no_grad():
        assert float(F.leaky_relu(layer(torch.randn(2000, 400)), 0.2).square().mean()) == pytest.approx(1, rel=0.02)
    assert not layer.bias.detach().any()


def test_r1_of_the_sum_of_patch_logits() -> None:
    a = f64([[1, 2], [0, -1], [3, 1]])  # three patch logits, linear in two pixels
    x = f64([[0.3, -0.2], [1, 1]]).requires_grad_()
    assert r1_penalty((x @ a.T).view(2, 3, 1), x).tolist() == pytest.approx([20, 20])  # (4, 2) squared
    mean = r1_penalty((x @ a.T).mean(1).view(2, 1, 1), x)
    assert mean.tolist() == pytest.approx([20 / 9] * 2)  # the sum's penalty over patches squared


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


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
