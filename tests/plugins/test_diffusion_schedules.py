"""Noise schedules, predictions, loss weights and EDM preconditioning against published and closed-form values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ltbench_diffusion.schedules import (
    SCHEDULES,
    alphas_cumprod,
    clipped,
    edm_sigmas,
    edm_weight,
    min_snr_weight,
    preconditioning,
    split,
    target,
)
from torch import Tensor

from ltbench.errors import UserError

LINEAR = alphas_cumprod("linear")


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", {0: 0.9999, 249: 0.524085373825, 499: 0.078587242882, 999: 4.035829765e-5}),
        ("cosine", {0: 0.999958715775, 249: 0.847012161327, 499: 0.493843590441, 999: 2.4288e-9}),
        ("scaled-linear", {0: 0.99915, 499: 0.277669650456, 999: 0.004660098513}),
        ("scaled-linear-ldm", {999: 0.000668665174}),
    ],
)
def test_schedules(schedule: str, expected: dict[int, float]) -> None:
    abar = alphas_cumprod(schedule)
    assert abar.dtype == torch.float64 and abar.shape == (1000,)
    for t, value in expected.items():
        assert float(abar[t]) == pytest.approx(value, rel=1e-5 if value < 1e-8 else 1e-9)
    assert (abar.diff() < 0).all()


def test_the_last_cosine_beta_is_capped() -> None:
    abar = alphas_cumprod("cosine")
    assert float(1 - abar[999] / abar[998]) == pytest.approx(0.999, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rescaled_schedules_end_at_zero_and_keep_their_start(schedule: str) -> None:
    plain, zero = alphas_cumprod(schedule), alphas_cumprod(schedule, zero_snr=True)
    assert float(zero[-1]) == 0.0 and float(zero[0]) == pytest.approx(float(plain[0]), rel=1e-12)
    if schedule == "linear":
        assert float(zero[499]) == pytest.approx(0.076028750547, abs=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "scaled-linear"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_schedules_agree_with_diffusers(schedule: str, zero_snr: bool) -> None:
    from diffusers import DDIMScheduler

    start, end = {"linear": (1e-4, 0.02), "scaled-linear": (0.00085, 0.012)}[schedule]
    other = DDIMScheduler(
        beta_schedule=schedule.replace("-", "_"), beta_start=start, beta_end=end, rescale_betas_zero_snr=zero_snr
    )
    got = alphas_cumprod(schedule, zero_snr=zero_snr)
    assert torch.allclose(got.float(), other.alphas_cumprod, rtol=2e-4, atol=1e-7)


def test_velocity_at_499_and_back() -> None:
    x0, eps, abar = double([0.8]), double([-0.4]), LINEAR[499]
    x = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    v = target(x0, eps, abar, "v_prediction")
    assert float(x) == pytest.approx(-0.159693658775, abs=1e-12)
    assert float(v) == pytest.approx(-0.880055643324, abs=1e-12)
    assert float(split(v, x, float(abar), "v_prediction")[0]) == pytest.approx(0.8, abs=1e-12)


@given(
    st.floats(-2, 2), st.floats(-3, 3), st.integers(0, 999), st.sampled_from(SCHEDULES), st.sampled_from([True, False])
)
def test_both_predictions_recover_image_and_noise(x0: float, eps: float, t: int, schedule: str, v: bool) -> None:
    prediction, abar = "v_prediction" if v else "epsilon", alphas_cumprod(schedule)[t]
    image, noise = double([x0]), double([eps])
    x = abar.sqrt() * image + (1 - abar).sqrt() * noise
    got = split(target(image, noise, abar, prediction), x, float(abar), prediction)
    assert float(got[0]) == pytest.approx(x0, abs=1e-9)
    assert float(got[1]) == pytest.approx(eps, abs=1e-9)


def test_velocity_is_defined_without_any_signal() -> None:
    x, v = torch.tensor([0.3]), torch.tensor([-0.7])
    x0, eps = split(v, x, 0.0, "v_prediction")
    assert float(x0) == pytest.approx(0.7) and float(eps) == pytest.approx(0.3)


def test_clipping_keeps_the_noisy_image() -> None:
    x, abar = double([0.5, -1.0]), float(LINEAR[499])
    x0, eps = split(double([0.2, -0.3]), x, abar, "epsilon")
    bounded, noise = clipped(x0, eps, x, abar, 1.0)
    assert bounded.tolist() == [1.0, -1.0]
    assert torch.allclose(abar**0.5 * bounded + (1 - abar) ** 0.5 * noise, x)
    assert clipped(x0, eps, x, abar, None) == (x0, eps)


def test_min_snr_weights() -> None:
    at = LINEAR[[0, 249, 499, 999]]
    assert (at / (1 - at)).tolist() == pytest.approx([9999, 1.101217, 0.085290, 4.036e-5], rel=1e-4)
    assert min_snr_weight(at, 5.0, "epsilon").tolist() == pytest.approx([5.0005e-4, 1, 1, 1], rel=1e-5)
    both = min_snr_weight(at, 5.0, "v_prediction") * (1 + 1 / (at / (1 - at)))  # v-MSE = (snr + 1) x0-MSE
    assert torch.allclose(both, min_snr_weight(at, 5.0, "epsilon"))


def test_edm_sigmas() -> None:
    assert edm_sigmas(5).tolist() == pytest.approx(
        [80, 17.52783196464, 2.515218976147, 0.1697527562688, 0.002, 0], rel=1e-11
    )
    many = edm_sigmas(18)
    assert [float(many[i]) for i in (1, 8, 16)] == pytest.approx(
        [57.58598472125, 3.256821519766, 0.007528019963], rel=1e-10
    )
    assert len(many) == 19
    with pytest.raises(UserError, match=r"generator\.steps must be at least 2, got 1"):
        edm_sigmas(1)


def test_edm_preconditioning() -> None:
    half = double(0.5)
    got = [float(c) for c in preconditioning(half, 0.5)]
    assert got == pytest.approx([0.5, 0.353553390593, 1.414213562373, -0.173286795140], abs=1e-12)
    assert float(edm_weight(half, 0.5)) == pytest.approx(8)
    assert float(edm_weight(double(0.002), 0.5)) == pytest.approx(250004, rel=1e-9)
    assert float(preconditioning(double(80.0), 0.5)[0]) == pytest.approx(3.906e-5, rel=1e-3)


@given(st.floats(1e-3, 100), st.floats(0.05, 2))
def test_edm_weights_the_network_output_evenly(sigma: float, sigma_data: float) -> None:
    level = double(sigma)
    skip, out, into, noise = preconditioning(level, sigma_data)
    assert float(edm_weight(level, sigma_data) * out**2) == pytest.approx(1)
    assert float(into**2 * (level**2 + sigma_data**2)) == pytest.approx(1)  # unit variance goes in
    residual = (1 - skip) ** 2 * sigma_data**2 + skip**2 * level**2  # variance of x0 - c_skip x, over c_out^2: one
    assert float(residual / out**2) == pytest.approx(1)
    assert float(noise) == pytest.approx(math.log(sigma) / 4)
