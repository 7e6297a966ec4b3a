"""Layers and networks of StyleGAN2 against numbers worked out by hand, naive loops and finite differences."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from ltbench_stylegan2.discriminator import Discriminator, project
from ltbench_stylegan2.layers import (
    Conv,
    Linear,
    activate,
    conv_down,
    conv_up,
    fir_down,
    fir_up,
    minibatch_deviation,
    modulated_conv,
    rms_norm,
)
from ltbench_stylegan2.synthesis import GeneratorNetwork, Mapping, channels, truncate
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from ltbench.errors import ContractError

torch.set_num_threads(1)
F64 = torch.float64


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def close(value: Tensor, expected: object, atol: float = 1e-12) -> bool:
    return torch.allclose(value, torch.as_tensor(expected, dtype=F64), rtol=0, atol=atol)


def naive_modulated(x: Tensor, weight: Tensor, style: Tensor, up: bool = False) -> Tensor:
    """One sample at a time, the weights scaled and normalised."""
    out = []
    for one, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        out.append(conv_up(one[None], w) if up else F.conv2d(one[None], w, padding=weight.shape[-1] // 2))
    return torch.cat(out)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What each output channel is multiplied by."""
    image = torch.ones(1, weight.shape[1], 3, 3, dtype=F64)
    with_it, without = (modulated_conv(image, weight, style, demodulate=on)[0, :, 1, 1] for on in (True, False))
    return with_it / without


@pytest.mark.parametrize(
    ("s", "d", "x", "y", "plain"),
    [
        ((2, 0.5), (0.447213595052744, 0.496138937746201), (1, 3), (2.236067975263722, -0.620173672182752), (5, -1.25)),
        (
            (1, -3),
            (0.164398987283141, 0.554700195371844),
            (0.25, -2),
            (2.013887594218480, 1.525425537272572),
            (12.25, 2.75),
        ),
    ],
)
def test_demodulation_of_a_1x1_kernel(s: tuple, d: tuple, x: tuple, y: tuple, plain: tuple) -> None:
    weight = torch.tensor([[1, 2], [-1, 0.5]], dtype=F64)[:, :, None, None]
    pixel, style = torch.tensor(x, dtype=F64).view(1, 2, 1, 1), torch.tensor([s], dtype=F64)
    assert close(demodulation(weight, style), d)
    assert close(modulated_conv(pixel, weight, style).flatten(), y)
    assert close(modulated_conv(pixel, weight, style, demodulate=False).flatten(), plain)
    assert close(modulated_conv(pixel, weight, 7 * style).flatten(), y, 3e-9)


def test_demodulation_of_a_3x3_kernel() -> None:
    weight = ((torch.arange(18, dtype=F64) - 8) / 4).view(1, 2, 3, 3)
    x, style = (torch.arange(32, dtype=F64) / 10).view(1, 2, 4, 4), torch.tensor([[0.5, -1.5]], dtype=F64)
    assert close(demodulation(weight, style), [0.152029724699488])
    y = modulated_conv(x, weight, style)[0, 0]
    assert close(y[0], (-3.040594493989760, -4.393659043815204, -4.644508089569358, -2.956978145405042))
    assert close(y[3], (-2.865760310585349, -4.005983245831509, -4.188418915470894, -2.569302347421347))


@pytest.mark.parametrize(("up", "kernel"), [(False, 1), (False, 3), (True, 3)])
def test_modulated_convolution_equals_the_naive_loop(up: bool, kernel: int) -> None:
    x, weight, style = seeded(3, 4, 5, 5), seeded(6, 4, kernel, kernel, seed=1), seeded(3, 4, seed=2)
    assert torch.allclose(modulated_conv(x, weight, style, up=up), naive_modulated(x, weight, style, up), atol=1e-13)


def test_norm_and_activation() -> None:
    assert close(rms_norm(torch.tensor([[3.0, 4, 0, 0]], dtype=F64))[0], (1.19999999904, 1.59999999872, 0, 0), 1e-11)
    assert close(activate(torch.tensor([-1.0, 2], dtype=F64)), (-0.282842712474619, 2.828427124746190))


def test_fir_resampling() -> None:
    up = fir_up(torch.tensor([[1.0, 2], [3, 4]], dtype=F64)[None, None])[0, 0]
    rows = [(0.5625, 0.9375, 1.3125, 1.125), (1.125, 1.75, 2.25, 1.875)]
    rows += [(1.875, 2.75, 3.25, 2.625), (1.6875, 2.4375, 2.8125, 2.25)]
    assert close(up, rows)
    down = fir_down(torch.arange(16, dtype=F64).view(1, 1, 4, 4))[0, 0]
    assert close(down, [[2.734375, 3.9375], [7.546875, 8.75]])


def test_fir_equals_a_depthwise_convolution() -> None:
    x = seeded(2, 3, 6, 6)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=F64)
    kernel = (taps[:, None] * taps / 64).expand(3, 1, 4, 4)
    assert torch.allclose(fir_down(x), F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, stride=2, groups=3), atol=1e-14)
    grid = torch.zeros(2, 3, 12, 12, dtype=F64)
    grid[:, :, ::2, ::2] = x
    assert torch.allclose(fir_up(x), F.conv2d(F.pad(grid, (2, 1, 2, 1)), 4 * kernel, groups=3), atol=1e-14)


def test_resampling_convolutions() -> None:
    weight = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=F64)[None, None] / 8
    image = torch.arange(9, dtype=F64).view(1, 1, 3, 3)
    up = conv_up(image, weight)[0, 0]
    assert close(up[0], (-0.15625, -0.28125, -0.34375, -0.34375, -0.0625, 0.5))
    assert close(up[2], (-0.96875, -0.65625, -0.5, -0.5, 0.15625, 1.46875))
    other = F.conv2d(fir_up(image), weight, padding=1)[0, 0]  # the other order differs at the borders
    assert close(other[0], (-0.171875, -0.2578125, -0.3125, -0.3125, -0.0546875, 0.640625))
    assert close(other[2], (-1.25, -0.65625, -0.5, -0.5, 0.15625, 2.0))
    down = conv_down(torch.arange(16, dtype=F64).view(1, 1, 4, 4), weight)[0, 0]
    assert close(down, [[-1.27734375, 0.76953125], [-2.27734375, 1.76953125]])
    x, full = seeded(1, 2, 8, 8), seeded(3, 2, 3, 3, seed=1)
    inside = (..., slice(3, -3), slice(3, -3))  # the borders differ
    assert torch.allclose(conv_up(x, full)[inside], F.conv2d(fir_up(x), full, padding=1)[inside], atol=1e-13)


def test_minibatch_deviation() -> None:
    x = torch.tensor([[1.0, 2], [3, 2], [5, 0], [7, 4]], dtype=F64).view(4, 2, 1, 1)
    assert close(minibatch_deviation(x, 4)[:, 2].flatten(), [1.825140772822243] * 4)
    assert close(minibatch_deviation(x, 2)[:, 2].flatten(), [1.500000003750000] * 4, 1e-11)
    order = minibatch_deviation(torch.tensor([1.0, 2, 4, 10], dtype=F64).view(4, 1, 1, 1), 2)[:, 1].flatten()
    assert close(order, (1.5, 4, 1.5, 4), 1e-8)
    assert torch.equal(minibatch_deviation(x, 4)[:, :2], x)
    assert torch.equal(minibatch_deviation(x, 32), minibatch_deviation(x, 4))
    with pytest.raises(ContractError, match="a batch of 4 cannot be split into groups of 3"):
        minibatch_deviation(x, 3)


def test_projection() -> None:
    f, c = torch.tensor([[1, 2, -1, 0.5]], dtype=F64), torch.tensor([[0.5, -1, 2, 4]], dtype=F64)
    assert close(project(f, c), [-0.75])


def test_first_and_second_derivatives() -> None:
    x, weight, style = seeded(2, 2, 3, 3), seeded(2, 2, 3, 3, seed=1), seeded(2, 2, seed=2)
    inputs = tuple(t.requires_grad_() for t in (x, weight, style))
    for up in (False, True):
        assert gradcheck(lambda *t, up=up: modulated_conv(*t, up=up), inputs)
        assert gradgradcheck(lambda *t, up=up: modulated_conv(*t, up=up), inputs)
    y = seeded(4, 1, 2, 2, seed=3).requires_grad_()
    assert gradcheck(lambda t: minibatch_deviation(t, 2), (y,))
    assert gradgradcheck(lambda t: minibatch_deviation(t, 2), (y,))
    z = seeded(1, 1, 4, 4, seed=4).requires_grad_()
    for resample in (fir_up, fir_down, lambda t: conv_down(t, weight[:1, :1])):
        assert gradcheck(resample, (z,)) and gradgradcheck(resample, (z,))


@pytest.mark.parametrize(
    ("side", "base", "most", "latent", "image", "classes", "depths", "expected"),
    [
        (8, 512, 64, 64, 1, 10, (2, 2), (145_861, 194_368)),
        (8, 512, 64, 64, 3, 10, (2, 8), (146_121, 219_456)),
        (16, 1024, 64, 64, 3, 10, (2, 8), (232_654, 297_408)),
        (32, 8192, 256, 512, 3, 10, (2, 8), (6_375_443, 5_974_272)),
        (64, 8192, 256, 512, 3, 10, (2, 8), (7_081_112, 6_449_280)),
        (64, 8192, 256, 512, 3, None, (2, 8), (6_813_336, 5_854_593)),
        (128, 16384, 512, 512, 3, 10, (2, 8), (23_217_053, 26_251_392)),
        (256, 16384, 512, 512, 3, 10, (2, 8), (23_459_298, 26_370_112)),
        (256, 16384, 512, 512, 3, None, (8, 8), (24_767_458, 24_001_089)),
    ],
)
def test_parameter_counts(
    side: int, base: int, most: int, latent: int, image: int, classes: int | None, depths: tuple, expected: tuple
) -> None:
    with torch.device("meta"):
        g = GeneratorNetwork(side, image, classes, latent=latent, base=base, most=most, layers=depths[0])
        d = Discriminator(side, image, classes, base=base, most=most, layers=depths[1])
    assert tuple(sum(p.numel() for p in net.parameters()) for net in (g, d)) == expected
    assert g.synthesis.num_ws == 2 * int(math.log2(side)) - 2


def test_channels_of_every_size() -> None:
    assert [channels(2**i, 16384, 512) for i in range(2, 9)] == [512] * 4 + [256, 128, 64]
    assert [channels(2**i, 8192, 256) for i in range(2, 9)] == [256] * 4 + [128, 64, 32]
    assert channels(256, 512, 64) == 8  # never fewer
    assert channels(8, 500, 64) == 56  # a multiple of 8


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize(("image", "classes"), [(1, 2), (3, None)])
def test_networks_start_at_unit_scale(side: int, image: int, classes: int | None) -> None:
    torch.manual_seed(side)
    g = GeneratorNetwork(side, image, classes, latent=64, base=1024, most=64)
    d = Discriminator(side, image, classes, base=1024, most=64)
    labels = None if classes is None else torch.arange(64) % classes
    with torch.no_grad():
        x = g.synthesis(g.styles(torch.randn(64, 64), labels))
        logits = d(x, labels)
    assert x.shape == (64, image, side, side) and logits.shape == (64,)
    assert 0.7 < x.std() < 2.2
    assert 0.05 < logits.abs().mean() < 5


def test_a_plain_discriminator_has_no_skips() -> None:
    plain = Discriminator(16, 3, 2, base=256, most=16, residual=False)
    full = Discriminator(16, 3, 2, base=256, most=16)
    count = [sum(p.numel() for p in d.parameters()) for d in (plain, full)]
    assert count[1] - count[0] == 2 * 16 * 16  # two 1x1 skips without bias
    assert plain(torch.randn(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64)).shape == (4,)


def test_equalised_learning_rate() -> None:
    torch.manual_seed(0)
    layer = Linear(16, 2000, lr_mul=0.01, bias=1.0)
    assert abs(float(layer.weight.detach().std()) - 100) < 2
    conv = Conv(8, 64, 3, linear=True)
    with torch.no_grad():
        assert torch.allclose(layer(torch.zeros(1, 16)), torch.ones(1, 2000))
        assert abs(float((layer(torch.randn(500, 16)) - 1).std()) - 1) < 0.03
        assert abs(float(conv(torch.randn(8, 8, 16, 16))[..., 1:-1, 1:-1].std()) - 1) < 0.05


def test_running_mean_of_styles() -> None:
    torch.manual_seed(0)
    mapping = Mapping(8, 3, 8, 2)
    z, labels = torch.randn(5, 8), torch.tensor([0, 1, 2, 0, 1])
    w = mapping(z, labels)
    assert torch.allclose(mapping.average, 0.005 * w.mean(0), atol=1e-7)
    before = mapping.average.clone()
    mapping(z, labels, track=False)
    mapping.eval()(z, labels)
    assert torch.equal(mapping.average, before)
    assert not torch.allclose(mapping(z, labels), mapping(z, labels.flip(0)))  # the label counts
    assert torch.allclose(mapping(z, labels), mapping(5 * z, labels), atol=1e-5)  # the length of z does not


def test_truncation() -> None:
    ws = seeded(2, 4, 3)
    centre = seeded(3, seed=1)
    moved = truncate(ws, centre, 0.25)
    assert torch.allclose(moved, centre + 0.25 * (ws - centre))
    part = truncate(ws, centre, 0.25, cutoff=1)
    assert torch.equal(part[:, 1:], ws[:, 1:]) and torch.equal(part[:, :1], moved[:, :1])
    assert torch.allclose(truncate(ws, ws[:, 0], 0.0), ws[:, :1].expand(-1, 4, -1))  # a centre for each sample
    assert torch.allclose(truncate(ws, centre, 1.0), ws, atol=1e-14)


def test_noise_reaches_the_image_and_can_be_given() -> None:
    torch.manual_seed(0)
    g = GeneratorNetwork(16, 1, 2, latent=16, base=256, most=16).eval()
    for conv in [*g.synthesis.convs, *g.synthesis.ups]:
        conv.strength.data.fill_(0.5)
    ws, asked = g.styles(torch.randn(2, 16), torch.tensor([0, 1])), []

    def given(index: int, side: int) -> Tensor:
        asked.append((index, side))
        return torch.zeros(2, 1, side, side)

    with torch.no_grad():
        assert torch.equal(g.synthesis(ws, given), g.synthesis(ws, "none"))
        assert torch.equal(g.synthesis(ws, "const"), g.synthesis(ws, "const"))
        assert not torch.equal(g.synthesis(ws, "random"), g.synthesis(ws, "random"))
    assert asked == [(0, 4), (1, 8), (2, 8), (3, 16), (4, 16)]


def test_style_mixing_changes_the_later_layers_only() -> None:
    torch.manual_seed(0)
    g = GeneratorNetwork(32, 1, 2, latent=16, base=256, most=16).eval()
    z, labels = torch.randn(3, 16), torch.tensor([0, 1, 1])
    ws = g.styles(z, labels)
    assert torch.equal(g.mixed_styles(z, labels, 0.0), ws)
    cutoffs = set()
    for _ in range(60):
        mixed = g.mixed_styles(z, labels, 1.0)
        same = (mixed == ws).all(2).all(0)
        cutoff = int(same.sum())
        assert same[:cutoff].all() and not same[cutoff:].any()
        cutoffs.add(cutoff)
    assert cutoffs == set(range(1, 8))


def test_networks_copy_and_reload_bit_for_bit() -> None:
    torch.manual_seed(0)
    g = GeneratorNetwork(8, 1, 3, latent=16, base=128, most=16)
    z, labels = torch.randn(3, 16), torch.tensor([0, 1, 2])
    with torch.no_grad():
        g.styles(z, labels)
        twin, other = copy.deepcopy(g).eval(), GeneratorNetwork(8, 1, 3, latent=16, base=128, most=16).eval()
        other.load_state_dict(g.state_dict())
        images = [net.synthesis(net.styles(z, labels), "const") for net in (g.eval(), twin, other)]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


def test_bf16_convolutions_leave_images_in_float32() -> None:
    torch.manual_seed(0)
    g, d = GeneratorNetwork(16, 3, 2, latent=16, base=256, most=16).eval(), Discriminator(16, 3, 2, base=256, most=16)
    labels = torch.tensor([0, 1, 0, 1])
    ws = g.styles(torch.randn(4, 16), labels)
    low = g.synthesis(ws, "const", torch.autocast("cpu", dtype=torch.bfloat16))
    high = g.synthesis(ws, "const")
    assert low.dtype == torch.float32 and 0 < float(((low - high).abs().max() / high.std()).detach()) < 0.1
    logits = d(high, labels, torch.autocast("cpu", dtype=torch.bfloat16))
    assert logits.dtype == torch.float32 and np.isfinite(logits.detach().numpy()).all()
