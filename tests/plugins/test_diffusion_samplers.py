"""Samplers on Gaussian data, where the denoiser and the answer are known exactly, and against diffusers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from ltbench_diffusion.samplers import bridge_timesteps, ddim, dpm_solver, heun, invert, levels, timesteps
from ltbench_diffusion.schedules import SCHEDULES, alphas_cumprod, edm_sigmas, split
from torch import Tensor

from ltbench.errors import UserError

LINEAR = alphas_cumprod("linear")


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gaussian(abar: Tensor, mean: float = 0.0, sd: float = 0.5) -> Any:
    """The exact denoiser of N(mean, sd^2)."""

    def model(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        a = float(abar[t])
        x0 = mean + a**0.5 * sd**2 / (a * sd**2 + 1 - a) * (x - a**0.5 * mean)
        return x0, (x - a**0.5 * x0) / (1 - a) ** 0.5

    return model


TABLE = {  # uniform-t: DDIM, 2M, 2M with a first-order last step; uniform-logSNR: the same
    # the last number is .751800 here; a table that it was compared with rounds it to .7519
    5: (0.4039, 0.8835, 0.4173, 0.4743, 0.7211, 0.6390),
    10: (0.5613, 1.0368, 0.6135, 0.5896, 0.7748, 0.7669),
    20: (0.6508, 0.9206, 0.7204, 0.6649, 0.7600, 0.7599),
    50: (0.7089, 0.7904, 0.7520, 0.7148, 0.7519, 0.7518),
}


@pytest.mark.parametrize("steps", TABLE)
def test_samplers_on_gaussian_data(steps: int) -> None:
    model, start, got = gaussian(LINEAR), double([1.5]), []
    for spacing in ("linspace", "logsnr"):
        ts = timesteps(LINEAR, steps + 1, spacing)
        at = levels(LINEAR, ts)[:-1]  # ends at t = 0, abar = 0.9999
        got.append(float(ddim(model, start, ts[:-1], at)))
        got += [float(dpm_solver(model, start, ts[:-1], at, lower_order_final=last)) for last in (False, True)]
    assert got == pytest.approx(TABLE[steps], abs=6e-5)


def test_samplers_approach_the_exact_solution() -> None:
    model, start = gaussian(LINEAR), double([1.5])
    first, last = (float(LINEAR[t]) * 0.25 + 1 - float(LINEAR[t]) for t in (999, 0))
    exact = 1.5 * (last / first) ** 0.5
    assert exact == pytest.approx(0.7501, abs=5e-5)
    ts = timesteps(LINEAR, 1000)
    assert float(ddim(model, start, ts[:-1], levels(LINEAR, ts)[:-1])) == pytest.approx(exact, abs=3e-3)
    assert float(dpm_solver(model, start, ts[:-1], levels(LINEAR, ts)[:-1])) == pytest.approx(exact, abs=2e-4)


HEUN = {5: (1.257886, 0.233629), 10: (0.609798, 0.365213), 18: (0.527625, 0.423031), 40: (0.504877, 0.464851)}


@pytest.mark.parametrize("steps", HEUN)
def test_heun_and_euler_on_gaussian_data(steps: int) -> None:
    def denoise(x: Tensor, sigma: float) -> Tensor:
        return 0.25 / (0.25 + sigma**2) * x

    start, sigmas = double([80.0]), edm_sigmas(steps).tolist()
    got = [float(heun(denoise, start, sigmas, order=order)) for order in (2, 1)]
    assert got == pytest.approx(HEUN[steps], abs=6e-7)


def test_one_ddim_step() -> None:
    x, eps = double([0.5, -1.0]), double([0.2, -0.3])
    at = [float(LINEAR[499]), float(LINEAR[449])]
    x0 = split(eps, x, at[0], "epsilon")[0]
    assert x0.tolist() == pytest.approx([1.098758361397, -2.539930384698], abs=1e-11)
    got = ddim(lambda x, t: split(eps, x, at[0], "epsilon"), x, [499], at)
    assert got.tolist() == pytest.approx([0.578419559991, -1.185425396504], abs=1e-11)
    spread = ddim(lambda x, t: (torch.zeros(1), torch.zeros(1)), x, [499], at, eta=1.0, noise=lambda i: torch.ones(1))
    assert float(spread) == pytest.approx(0.600941826174, abs=1e-7)


def test_eta_one_on_every_timestep_is_ancestral_sampling() -> None:
    x, eps = double([0.5, -1.0]), double([0.2, -0.3])
    at = [float(LINEAR[499]), float(LINEAR[498])]

    def model(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        return split(eps, x, at[0], "epsilon")

    mean = ddim(model, x, [499], at, eta=1.0, noise=lambda i: torch.zeros(2))
    assert mean.tolist() == pytest.approx([0.500426601412, -1.001904437116], abs=1e-11)
    moved = ddim(model, x, [499], at, eta=1.0, noise=lambda i: torch.ones(2).double())
    assert ((moved - mean) ** 2).tolist() == pytest.approx([0.010031355415] * 2, abs=1e-11)


def test_ancestral_sampling_has_the_variance_of_the_data() -> None:
    torch.manual_seed(0)
    start = torch.randn(4000, dtype=torch.float64)
    ts = timesteps(LINEAR, 1000)
    got = ddim(
        gaussian(LINEAR, mean=0.3), start, ts, levels(LINEAR, ts), eta=1.0, noise=lambda i: torch.randn(4000).double()
    )
    assert float(got.mean()) == pytest.approx(0.3, abs=0.03)
    assert float(got.std()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("spacing", ["linspace", "trailing", "logsnr", "karras"])
def test_every_spacing_starts_at_the_noisiest_level(schedule: str, zero_snr: bool, spacing: str) -> None:
    abar = alphas_cumprod(schedule, zero_snr=zero_snr)
    for steps in (2, 10, 50, 1000):
        ts = timesteps(abar, steps, spacing)
        assert ts[0] == 999 and ts[-1] == (1000 // steps - 1 if spacing == "trailing" else 0)
        assert all(a > b for a, b in itertools.pairwise(ts)) and len(ts) <= steps
    assert levels(abar, ts)[-1] == 1.0


def test_spacings_of_ten_steps() -> None:
    assert timesteps(LINEAR, 10, "trailing") == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert timesteps(LINEAR, 10, "linspace") == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    with pytest.raises(UserError, match=r"generator\.steps must be at least 2, got 1"):
        timesteps(LINEAR, 1)


def test_zero_snr_starts_from_pure_noise_without_division_by_zero() -> None:
    abar = alphas_cumprod("scaled-linear", zero_snr=True)
    for spacing in ("trailing", "linspace", "logsnr", "karras"):
        ts = timesteps(abar, 20, spacing)
        start = double([1.0, -1.0])
        for sampler in (ddim, dpm_solver):
            x = sampler(gaussian(abar, mean=0.7), start, ts, levels(abar, ts))
            assert torch.isfinite(x).all()
            assert float(x.mean()) == pytest.approx(0.7, abs=0.02)  # the mean survives, so there is no brightness bias


@pytest.mark.parametrize("steps", [5, 20])
def test_dpm_solver_agrees_with_diffusers(steps: int) -> None:
    from diffusers import DPMSolverMultistepScheduler

    other: Any = DPMSolverMultistepScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", final_sigmas_type="zero"
    )
    other.set_timesteps(steps)
    ts = timesteps(LINEAR, steps, "trailing")
    assert other.timesteps.tolist() == ts
    model, x = gaussian(LINEAR, mean=0.2), double([0.4, -1.3, 2.0])
    expected = x
    for t in other.timesteps:
        expected = other.step(model(expected, int(t))[1], t, expected).prev_sample
    assert torch.allclose(dpm_solver(model, x, ts, levels(LINEAR, ts)), expected.double(), atol=1e-4)


def test_lower_order_at_the_end_is_forced_where_noise_vanishes() -> None:
    ts = timesteps(LINEAR, 10)
    for last in (False, True):
        got = dpm_solver(gaussian(LINEAR), double([1.5]), ts, levels(LINEAR, ts), lower_order_final=last)
        assert torch.isfinite(got).all()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "scaled-linear"])
def test_inversion_and_back(schedule: str) -> None:
    abar = alphas_cumprod(schedule)
    model, x = gaussian(abar, mean=0.1), torch.linspace(-1, 1, 41, dtype=torch.float64)
    errors = []
    for steps in (50, 250):
        ts = bridge_timesteps(abar, steps)
        at = levels(abar, ts)[:-1]
        assert len(ts) <= steps + 1 and ts[-1] == 0
        errors.append((ddim(model, invert(model, x, ts, at), ts[:-1], at) - x).abs())
    assert float(errors[1].max()) < 0.05 and float(errors[1].mean()) < 0.02
    assert float(errors[1].max()) < float(errors[0].max())


def test_inversion_makes_standard_noise() -> None:
    torch.manual_seed(0)
    ts = bridge_timesteps(LINEAR, 250)
    x = 0.5 * torch.randn(2000, dtype=torch.float64)
    z = invert(gaussian(LINEAR), x, ts, levels(LINEAR, ts)[:-1])
    assert float(z.std()) == pytest.approx(1.0, abs=0.05)


def test_ddim_and_heun_agree() -> None:
    """The same noise through both parametrisations of one ordinary differential equation."""
    start = double([1.2, -0.4])
    ts = timesteps(LINEAR, 1000, "logsnr")
    one = ddim(gaussian(LINEAR), start, ts, levels(LINEAR, ts))
    sigma = float((1 / LINEAR[999] - 1) ** 0.5)
    two = heun(lambda x, s: 0.25 / (0.25 + s**2) * x, start * sigma, edm_sigmas(200, 0.002, sigma).tolist())
    assert torch.allclose(one, two, atol=0.01)
