"""Adaptive augmentation: the pipeline against closed forms and torch's own sampler, the controller step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import pytest
import torch
from ltbench_stylegan2 import colour
from ltbench_stylegan2.augment import COLOUR, GEOMETRY, UPRIGHT, Controller, Pipeline
from ltbench_stylegan2.geometry import (
    SYM6,
    _positions,
    bilinear,
    pre_rotation_probability,
    random_geometry,
    rotation,
    scale,
    shift,
    warp,
    warp_lite,
)
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from ltbench.errors import UserError

torch.set_num_threads(1)
F64 = torch.float64


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=F64)


@pytest.mark.parametrize("spec", ["bgc", "bgc-lite", UPRIGHT, "c"])
@pytest.mark.parametrize(("dtype", "atol"), [(F64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_at_p_0_the_pipeline_is_the_identity(spec: str, dtype: torch.dtype, atol: float, channels: int) -> None:
    x = seeded(3, channels, 8, 8).to(dtype)
    assert torch.allclose(Pipeline(spec)(x, 0.0), x, rtol=0, atol=atol)


@pytest.mark.parametrize("spec", ["bgc", "bgc-lite"])
@pytest.mark.parametrize("channels", [1, 3])
def test_first_and_second_derivatives_of_the_pipeline(spec: str, channels: int) -> None:
    pipeline, x = Pipeline(spec), seeded(2, channels, 5, 5).requires_grad_()

    def augmented(images: Tensor) -> Tensor:
        torch.manual_seed(0)
        return pipeline(images, 0.9)

    assert gradcheck(augmented, (x,))
    assert gradgradcheck(lambda images: augmented(images).square(), (x,))


def test_an_image_keeps_its_own_draw() -> None:
    x = seeded(4, 3, 8, 8)
    torch.manual_seed(0)
    y = Pipeline("bgc")(x, 1.0)
    same = x.clone()
    same[0] += 1
    torch.manual_seed(0)
    z = Pipeline("bgc")(same, 1.0)
    assert torch.equal(y[1:], z[1:]) and not torch.allclose(y[0], z[0])
    assert len({tuple(image.flatten().tolist()) for image in Pipeline("bgc")(x[:1].repeat(8, 1, 1, 1), 1.0)}) == 8


def test_an_integer_shift_is_exact_with_reflected_fill() -> None:
    x = seeded(2, 1, 9, 9)
    for moved in (warp, warp_lite):
        y = moved(x, shift(-one(1.0), one(0.0)).repeat(2, 1, 1))
        assert torch.allclose(y[..., 1:], x[..., :-1], rtol=0, atol=1e-11)
    wavelet = warp(x, shift(-one(1.0), one(0.0)).repeat(2, 1, 1))
    assert torch.allclose(wavelet[..., 0], x[..., 1], rtol=0, atol=1e-11)


def test_flips_and_turns_of_smooth_images() -> None:
    t = torch.linspace(-1, 1, 32, dtype=F64)
    x = (torch.cos(2 * t)[:, None] * torch.sin(1.5 * t + 0.3))[None, None]
    assert (warp(x, scale(-one(1.0), one(1.0))) - x.flip(3)).abs().max() < 0.06
    turned = warp(x, rotation(one(math.pi / 2)))
    assert (turned - x.rot90(1, (2, 3))).abs().max() < 0.06 or (turned - x.rot90(-1, (2, 3))).abs().max() < 0.06
    assert torch.allclose(warp_lite(x, scale(-one(1.0), one(1.0))), x.flip(3), atol=1e-12)


@pytest.mark.parametrize(("reflect", "padding"), [(False, "zeros"), (True, "reflection")])
def test_bilinear_sampling_equals_grid_sample(reflect: bool, padding: str) -> None:
    x, matrix = seeded(3, 2, 6, 7), seeded(3, 3, 3, seed=1)
    matrix[:, 2] = torch.tensor([0, 0, 1], dtype=F64)
    theta = torch.tensor([[2 / 7, 0, 0], [0, 2 / 6, 0], [0, 0, 1]], dtype=F64) @ matrix
    theta = theta @ torch.diag(torch.tensor([9 / 2, 8 / 2, 1], dtype=F64))
    grid = F.affine_grid(theta[:, :2], (3, 2, 8, 9), align_corners=False)
    expected = F.grid_sample(x, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    assert torch.allclose(bilinear(x, *_positions(matrix, (6, 7), (8, 9)), reflect=reflect), expected, atol=1e-12)


def test_the_wavelet_is_orthonormal() -> None:
    taps = torch.tensor(SYM6, dtype=F64)
    for lag in range(0, 12, 2):
        assert abs(float(taps[: 12 - lag] @ taps[lag:]) - (lag == 0)) < 1e-9
    assert abs(float(taps.sum()) - math.sqrt(2)) < 1e-9


def test_rotation_probability() -> None:
    assert pre_rotation_probability(0.6) == pytest.approx(0.367544467966324, abs=1e-14)
    assert 1 - (1 - pre_rotation_probability(0.6)) ** 2 == pytest.approx(0.6)
    assert pre_rotation_probability(1.0) == 1


HALF_ACTIVE = {"xflip": 1 / 2, "lumaflip": 1 / 2, "rotate90": 3 / 4}  # what an open gate changes; the others: all


def untouched(geometry: Collection[str], colours: Collection[str], p: float, n: int) -> float:
    """The share of n drawn images that the named transforms leave as they are."""
    like, eye = torch.zeros((), dtype=F64), torch.eye(3, dtype=F64)
    matrix = random_geometry(geometry, n, 4096, p, like)  # so large that no drawn shift rounds to 0
    linear, offset = colour.random_colour(colours, n, 3, p, like)
    still = ((matrix - eye).abs().amax((1, 2)) < 1e-9) & ((linear - eye).abs().amax((1, 2)) < 1e-9)
    return float((still & (offset == 0).all(1)).double().mean())


@pytest.mark.parametrize(("p", "expected"), [(0.2, 0.0924), (0.6, 7.06e-5), (0.8, 7.4e-8)])
def test_share_of_untouched_images(p: float, expected: float) -> None:
    """Few or none of them at a high p: each gate by itself, and the product over the gates against the sheet."""
    torch.manual_seed(0)
    n, product, analytic = 20_000, 1.0, 1.0
    for name in (*GEOMETRY, *COLOUR):
        share = untouched([name], [], p, n) if name in GEOMETRY else untouched([], [name], p, n)
        off = 1 - p * HALF_ACTIVE.get(name, 1)
        assert abs(share - off) < 4 * math.sqrt(off * (1 - off) / n), name
        product, analytic = product * share, analytic * off
    assert analytic == pytest.approx(expected, rel=5e-3)
    assert product == pytest.approx(analytic, rel=0.2)


@pytest.mark.parametrize(("p", "expected", "n"), [(0.2, 0.0924, 40_000), (0.6, 7.06e-5, 400_000)])
def test_gates_are_independent(p: float, expected: float, n: int) -> None:
    torch.manual_seed(0)
    share, error = untouched(GEOMETRY, COLOUR, p, n), math.sqrt(expected / n)
    assert 4 * error < expected  # or a share of 0 would pass
    assert abs(share - expected) < 4 * error


def test_sizes_of_the_random_geometry() -> None:
    torch.manual_seed(0)
    n, like = 20_000, torch.zeros((), dtype=F64)
    shifts = random_geometry(["xint"], n, 64, 1.0, like)[:, :2, 2]
    assert torch.equal(shifts, shifts.round()) and int(shifts.abs().max()) == 8
    factors = random_geometry(["scale"], n, 64, 1.0, like)[:, 0, 0].log2()
    assert abs(float(factors.std()) - 0.2) < 0.005 and abs(float(factors.mean())) < 0.005
    stretched = random_geometry(["aniso"], n, 64, 1.0, like)
    assert torch.allclose(stretched[:, 0, 0] * stretched[:, 1, 1], torch.ones(n, dtype=F64))
    fractional = random_geometry(["xfrac"], n, 64, 1.0, like)[:, :2, 2]
    assert abs(float(fractional.std()) - 8) < 0.15
    quarters = random_geometry(["rotate90"], n, 64, 1.0, like)[:, 0, 0].round()
    assert abs(float((quarters == 1).double().mean()) - 0.25) < 0.02
    flipped = random_geometry(["xflip"], n, 64, 0.5, like)[:, 0, 0]
    assert abs(float((flipped < 0).double().mean()) - 0.25) < 0.02


def test_colour_maps() -> None:
    start = colour.identity(1, one(0.0))
    linear = colour.luma_flip(start, one(1.0))[0][0]
    assert torch.allclose(linear, torch.eye(3, dtype=F64) - 2 / 3)
    half = colour.saturation(start, one(0.5))[0][0]
    assert torch.allclose(half.diag(), torch.full((3,), 2 / 3, dtype=F64)) and abs(half[0, 1] - 1 / 6) < 1e-12
    red = torch.tensor([1.0, 0, 0], dtype=F64)
    turned = colour.hue(start, one(math.radians(120)))[0][0] @ red
    assert torch.allclose(turned, torch.tensor([0.0, 1, 0], dtype=F64), atol=1e-12)
    quarter = colour.hue(start, one(math.radians(90)))[0][0, 0]
    expected = torch.tensor([0.333333333333, -0.244016935856, 0.910683602523], dtype=F64)
    assert torch.allclose(quarter, expected, rtol=0, atol=1e-11)


def test_a_chain_of_colour_maps() -> None:
    chain = colour.brightness(colour.identity(1, one(0.0)), one(0.1))
    chain = colour.luma_flip(colour.contrast(chain, one(1.5)), one(1.0))
    chain = colour.saturation(chain, one(0.5))
    pixel = torch.tensor([0.2, -0.4, 0.6], dtype=F64).view(1, 3, 1, 1)
    expected = torch.tensor([-0.3, -0.75, 0], dtype=F64)
    assert torch.allclose(colour.recolour(pixel, chain).flatten(), expected, atol=1e-12)
    assert colour.recolour(pixel[:, :1], chain).item() == pytest.approx(-0.45, abs=1e-12)


@pytest.mark.parametrize(
    ("draw", "mean", "sd"),
    [("brightness", 0.0, 0.2), ("contrast", 0.0, 0.5), ("saturation", 0.0, 1.0)],
)
def test_strengths_of_the_random_colours(draw: str, mean: float, sd: float) -> None:
    torch.manual_seed(0)
    linear, offset = colour.random_colour([draw], 20_000, 3, 1.0, one(0.0))
    values = {
        "brightness": lambda: offset[:, 0],
        "contrast": lambda: linear[:, 0, 0].log2(),
        "saturation": lambda: (linear[:, 0, 0] - linear[:, 0, 1]).log2(),
    }[draw]()
    assert abs(float(values.mean()) - mean) < 0.03 and abs(float(values.std()) / sd - 1) < 0.03


def test_strengths_are_not_of_mean_one() -> None:
    """E[2^(n/2)] and E[2^n] of a normal n: the augmented mean contrast is biased up, for reals and fakes alike."""
    torch.manual_seed(0)
    linear, _ = colour.random_colour(["contrast"], 200_000, 3, 1.0, one(0.0))
    assert float(linear[:, 0, 0].mean()) == pytest.approx(1.0619, abs=0.004)
    linear, _ = colour.random_colour(["saturation"], 200_000, 3, 1.0, one(0.0))
    assert float((linear[:, 0, 0] - linear[:, 0, 1]).mean()) == pytest.approx(1.2715, abs=0.01)


def test_groups_and_names_of_transforms() -> None:
    assert Pipeline("bgc").geometry == set(GEOMETRY) and Pipeline("bgc").colour == set(COLOUR)
    assert Pipeline("b").geometry == {"xflip", "rotate90", "xint"} and not Pipeline("b").colour
    assert Pipeline(UPRIGHT).geometry == {"xint", "scale", "aniso", "xfrac"} and Pipeline(UPRIGHT).colour == set(COLOUR)
    assert Pipeline("bg-lite").lite and not Pipeline("bg").lite
    for wrong in ("", "bgx", "spin", "b+", "lite"):
        with pytest.raises(UserError, match=r"generator\.pipeline must name .*--set generator.pipeline=bgc"):
            Pipeline(wrong)


def logits_of(mean_sign: float, n: int = 40) -> Tensor:
    return torch.where(torch.arange(n) < round(n * (1 + mean_sign) / 2), 1.0, -1.0)


def test_the_controller_follows_the_sign_of_the_excess() -> None:
    control = Controller(kimg=500)
    seen = []
    for r in (0.7, 0.65, 0.6, 0.5, 0.5, 0.5, 0.9):
        control.observe(logits_of(r))
        control.adjust(4 * 32)
        seen.append(control.p)
    assert seen == pytest.approx([0.000256, 0.000512, 0.000512, 0.000256, 0, 0, 0.000256], abs=1e-15)


@pytest.mark.parametrize(("batch", "kimg", "step"), [(64, 500, 0.000512), (32, 100, 0.00128)])
def test_steps_of_the_controller(batch: int, kimg: float, step: float) -> None:
    control = Controller(kimg=kimg)
    control.observe(logits_of(1.0))
    control.adjust(4 * batch)
    assert control.p == pytest.approx(step, abs=1e-15)


def test_p_rises_linearly_and_stops_at_the_ceiling() -> None:
    control, steps = Controller(kimg=500, ceiling=0.8), 0
    while control.p < 0.5:
        control.observe(torch.ones(32))
        control.adjust(128)
        steps += 1
    assert steps == math.ceil(1953.1)
    for _ in range(2000):
        control.observe(torch.ones(32))
        control.adjust(128)
    assert control.p == 0.8


def test_the_statistic_is_the_mean_sign_since_the_last_adjustment() -> None:
    control = Controller(kimg=500)
    control.observe(torch.tensor([1, -2, 0.3, 0, 5]))
    assert float(control.signs) / control.seen == pytest.approx(0.4)  # (1 - 1 + 1 + 0 + 1) / 5
    control.observe(torch.tensor([-1.0] * 5))
    assert float(control.signs) / control.seen == pytest.approx(-0.3)
    control.adjust(100)
    assert (control.signs, control.seen) == (0.0, 0)
    before = control.p
    control.adjust(100)  # nothing observed
    assert control.p == before


def test_the_controller_keeps_its_state() -> None:
    control, other = Controller(kimg=20), Controller(kimg=20)
    for r in (1.0, 1.0, 0.8):
        control.observe(logits_of(r))
        control.adjust(256)
    control.observe(logits_of(0.2))
    other.load_state_dict(control.state_dict())
    for c in (control, other):
        c.observe(logits_of(0.9))
        c.adjust(256)
    assert control.p == other.p > 0


def test_r1_passes_through_the_pipeline() -> None:
    """D = sum of pixels: the squared gradient is that of the adjoint applied to ones, by finite differences."""
    x = seeded(1, 1, 6, 6).requires_grad_()

    def augmented(images: Tensor) -> Tensor:
        torch.manual_seed(3)
        return Pipeline("bgc")(images, 1.0).sum()

    (gradient,) = torch.autograd.grad(augmented(x), x)
    basis: Callable[[int], Tensor] = lambda i: F.one_hot(torch.tensor(i), 36).to(F64).view(1, 1, 6, 6)  # noqa: E731
    with torch.no_grad():
        at_zero = augmented(torch.zeros_like(x))
        columns = torch.stack([augmented(basis(i)) - at_zero for i in range(36)])  # the pipeline is affine in x
    assert torch.allclose(gradient.flatten(), columns, atol=1e-10)
