"""The diffusion over label vectors against the sheet's vectors, diffusers and an exact denoiser."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ltbench_diffmic.chain import Plan, alpha_bars, antithetic, check_train_steps, deterministic, forward, posterior
from ltbench_diffmic.diffmic import on_simplex, rate
from ltbench_diffmic.discrepancy import kernel, mmd

from ltbench.errors import UserError

FOUR = np.cumprod(1 - np.array([0.1, 0.2, 0.3, 0.4]))


def tensor(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_coefficients_of_the_posterior() -> None:
    assert pytest.approx([0.9, 0.72, 0.504, 0.3024]) == FOUR
    expected = {
        1: (0.677631, 0.319438, 0.002931, 0.0714286),
        2: (0.513223, 0.472308, 0.014469, 0.1693548),
        3: (0.407070, 0.550745, 0.042185, 0.2844037),
    }
    for t, (g0, g1, g2, variance) in expected.items():
        found = posterior(FOUR[t], FOUR[t - 1])
        assert found[:3] == pytest.approx((g0, g1, g2), abs=6e-7)
        assert found[3] ** 2 == pytest.approx(variance, abs=6e-8)


def test_forward_law_and_one_reverse_step() -> None:
    y0, m, noise = tensor(0, 1, 0)[None], tensor(0.2, 0.5, 0.3)[None], tensor(0.5, -1, 0.25)[None]
    expected = [
        (0.168377, 0.658114, 0.094452),
        (0.294870, 0.395114, 0.177729),
        (0.410150, 0.150692, 0.263089),
        (0.507630, -0.060270, 0.343833),
    ]
    for t, values in enumerate(expected):
        y = forward(y0, m, noise, torch.full((1, 1), FOUR[t], dtype=torch.float64))
        np.testing.assert_allclose(y[0], values, atol=6e-7)
    total = tensor(0.1, 0.6, 0.3)[None] + tensor(0.3, 0.4, 0.3)[None]  # equation 2 as printed, with the sum of both
    printed = forward(y0, total, noise, torch.full((1, 1), FOUR[2], dtype=torch.float64))
    np.testing.assert_allclose(printed[0], (0.468165, 0.295727, 0.350110), atol=6e-7)
    g0, g1, g2, sd = posterior(FOUR[2], FOUR[1])
    y2 = forward(y0, m, noise, torch.full((1, 1), FOUR[2], dtype=torch.float64))
    clean = (y2 - (1 - FOUR[2] ** 0.5) * m - (1 - FOUR[2]) ** 0.5 * noise) / FOUR[2] ** 0.5
    np.testing.assert_allclose(clean, y0, atol=1e-12)
    mean = g0 * clean + g1 * y2 + g2 * m
    np.testing.assert_allclose(mean[0], (0.196611, 0.591630, 0.128600), atol=6e-7)
    assert sd == pytest.approx(0.411527, abs=6e-7)
    np.testing.assert_allclose((mean + sd * tensor(1, 0, -1))[0], (0.608139, 0.591630, -0.282927), atol=6e-7)


def test_the_linear_table() -> None:
    table = alpha_bars(1000)
    expected = {0: 0.9999, 59: 0.95956423, 99: 0.89701815, 249: 0.52408537, 499: 0.07858724}
    for t, value in expected.items():
        assert table[t] == pytest.approx(value, abs=6e-9)
    assert Plan.of("truncated", 60, table).sigma[0] == pytest.approx(0.20108648, abs=6e-9)
    assert table[999] == pytest.approx(4.03583e-5, abs=6e-11)
    assert table[999] ** 0.5 == pytest.approx(0.00635282, abs=6e-9)
    for t, values in {
        59: (0.03091380, 0.96907982, 0.00000638, 1.23663e-3),
        999: (0.00012835, 0.98994868, 0.00992297, 0.01999998),
    }.items():
        found = posterior(table[t], table[t - 1])
        assert found[:3] == pytest.approx(values[:3], abs=6e-9)
        assert found[3] ** 2 == pytest.approx(values[3], abs=6e-9)


@given(st.floats(1e-4, 0.98), st.floats(1e-3, 1.0))
def test_weights_of_a_step_sum_to_one(now: float, gap: float) -> None:
    then = now + (0.9999 - now) * gap
    for step in (posterior, deterministic):
        assert sum(step(now, then)[:3]) == pytest.approx(1.0, abs=1e-9)


def test_mmd_vectors() -> None:
    x, y = tensor([0, 0], [1, 0], [0, 2]), tensor([1, 1], [2, 0], [0, 0])
    expected = [[0.606531, 0.367879, 1], [0.778801, 0.778801, 0.778801], [0.606531, 0.135335, 0.367879]]
    np.testing.assert_allclose(kernel(x, y), expected, atol=6e-7)
    assert float(mmd(x, y)) == pytest.approx(0.13190399, abs=6e-9)
    within = sum(float(kernel(z, z).sum()) - 3 for z in (x, y)) / 6  # without the diagonal: another number, not ours
    assert within - 2 * float(kernel(x, y).mean()) == pytest.approx(-0.19985981, abs=6e-9)
    assert float(mmd(tensor([0], [1]), tensor([0], [3]))) == pytest.approx(0.49084218, abs=6e-9)
    assert float(mmd(x, x)) == 0
    noise, guess = tensor([0.5, -1, 0.25], [-0.5, 1, 0]), tensor([0.4, -0.8, 0.3], [-0.6, 0.9, 0.1])
    apart, square = float(mmd(noise, guess)), float(torch.nn.functional.mse_loss(guess, noise))
    assert (apart, square) == pytest.approx((0.00497382, 0.01375), abs=6e-9)
    assert square + 0.5 * (apart + apart) == pytest.approx(0.01872382, abs=6e-9)


def test_antithetic_times() -> None:
    assert antithetic(torch.tensor([10, 500, 999]), 1000, 5).tolist() == [10, 500, 999, 989, 499]


def test_learning_rate_of_the_denoiser() -> None:
    for epoch, value in {0: 0.0, 0.5: 1.25e-5, 20: 5e-4, 40: 1e-3, 520: 5e-4, 1000: 0.0}.items():
        assert rate(1e-3, epoch, 40, 1000) == pytest.approx(value, abs=1e-15)


def test_kept_indices() -> None:
    kept = Plan.of("respaced", 60, alpha_bars(1000)).indices
    assert kept[:3].tolist() == [999, 982, 966] and kept[-2:].tolist() == [32, 16] and len(kept) == 60
    assert Plan.of("truncated", 60, alpha_bars(1000)).indices.tolist() == list(range(59, -1, -1))
    assert Plan.of("respaced", 1, alpha_bars(1000)).indices.tolist() == [999]


LAWS = {  # sheet section 10.6: arg-max frequencies by class law, and the steps and the table's length of a sampler
    (0.6, 0.3, 0.1): {
        ("respaced", 1000, 1000): (0.602, 0.301, 0.098),
        ("respaced", 60, 1000): (0.610, 0.295, 0.096),
        ("ddim", 60, 1000): (0.604, 0.297, 0.099),
        ("truncated", 60, 1000): (0.465, 0.311, 0.224),
        ("truncated", 250, 1000): (0.570, 0.307, 0.122),
        ("respaced", 60, 60): (0.565, 0.311, 0.124),
    },
    (0.9, 0.08, 0.02): {
        ("respaced", 1000, 1000): (0.894, 0.084, 0.022),
        ("respaced", 60, 1000): (0.913, 0.071, 0.017),
        ("ddim", 60, 1000): (0.906, 0.076, 0.019),
        ("truncated", 60, 1000): (0.624, 0.203, 0.173),
        ("truncated", 250, 1000): (0.857, 0.110, 0.035),
        ("respaced", 60, 60): (0.853, 0.110, 0.038),
    },
    (0.98, 0.01, 0.01): {
        ("respaced", 1000, 1000): (0.979, 0.010, 0.012),
        ("respaced", 60, 1000): (0.986, 0.007, 0.008),
        ("ddim", 60, 1000): (0.982, 0.009, 0.009),
        ("truncated", 60, 1000): (0.677, 0.159, 0.164),
        ("truncated", 250, 1000): (0.956, 0.022, 0.022),
        ("respaced", 60, 60): (0.953, 0.023, 0.023),
    },
}
CELLS = [(law, sampler, expected) for law, row in LAWS.items() for sampler, expected in row.items()]


@pytest.mark.parametrize(("law", "sampler", "expected"), CELLS)
def test_the_sampler_draws_from_the_law_of_an_exact_denoiser(
    law: tuple[float, ...], sampler: tuple[str, int, int], expected: tuple[float, ...]
) -> None:
    """Within four deviations of the sheet's chains and these."""
    p, (name, steps, length) = tensor(*law), sampler
    plan = Plan.of(name, steps, alpha_bars(length))
    torch.manual_seed(0)
    rows = 10_000 if steps == 60 else 4_000
    prior = p.expand(rows, 3)
    noise = torch.randn(steps, rows, 3, dtype=torch.float64)

    def exact(i: int, y: torch.Tensor) -> torch.Tensor:
        s, sigma = plan.scale[i], plan.sigma[i]
        centres = s * torch.eye(3, dtype=torch.float64) + (1 - s) * p
        square = (y[:, None] - centres[None]).square().sum(2)
        clean = torch.softmax(p.log() - square / (2 * sigma**2), 1)
        return (y - s * clean - (1 - s) * p) / sigma

    drawn = plan.run(exact, prior, noise)[-1].argmax(1)
    found = torch.bincount(drawn, minlength=3).double() / rows
    for value, want in zip(found.tolist(), expected, strict=True):
        spread = (want * (1 - want) * (1 / rows + 1 / 10_000)) ** 0.5
        assert value == pytest.approx(want, abs=4 * spread + 1e-3)


def test_the_steps_of_a_chain_do_not_leave_the_device() -> None:
    """On the device `meta` nothing can be copied back or read by Python; copies to it do not grow with the steps."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls: Counter[str] = Counter()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.calls[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    waits = ("_to_copy", "_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "equal")
    found = []
    for steps in (5, 60):
        plan, prior = Plan.of("respaced", steps, alpha_bars(1000)), torch.full((4, 3), 1 / 3, device="meta")
        with Counting() as counting:
            states = plan.run(lambda i, y: 0.5 * y, prior, torch.zeros(steps, 4, 3, device="meta"))
        assert states.shape == (steps + 1, 4, 3) and states.device.type == "meta"
        found.append({name: counting.calls[name] for name in waits})
        assert counting.calls["mul"] >= steps  # the steps ran under the count
    assert found[0] == found[1] and found[0]["_local_scalar_dense"] == 0


@pytest.mark.parametrize(("steps", "tolerance"), [(1000, 2e-4), (60, 4e-6), (50, 2e-6)])  # its tables are float32
def test_a_chain_is_that_of_diffusers_on_the_difference_from_the_prior(steps: int, tolerance: float) -> None:
    """The shift identity: u = y - m follows ordinary DDPM with the same noise, sheet section 4."""
    from diffusers import DDPMScheduler

    rows = 4
    plan = Plan.of("respaced", steps, alpha_bars(1000))
    scheduler = DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type="epsilon",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == plan.indices.tolist()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(steps, rows, 3, generator=generator, dtype=torch.float64)
    prior = torch.softmax(torch.randn(rows, 3, generator=generator, dtype=torch.float64), 1)
    wave = torch.linspace(0, 3, 1000, dtype=torch.float64)

    def network(t: int, u: torch.Tensor) -> torch.Tensor:
        return torch.sin(u + wave[t])

    states = plan.run(lambda i, y: network(int(plan.indices[i]), y - prior), prior, noise)
    u = noise[0]
    for i, t in enumerate(plan.indices.tolist()):
        mean, clean = _step(scheduler, network(t, u), t, u)
        u = clean if i + 1 == steps else mean + float(scheduler._get_variance(t)) ** 0.5 * noise[i + 1]
    gap = (states[-1] - (u + prior)).abs().max() / u.abs().max()
    assert gap < tolerance


def _step(scheduler, noise, t, u):  # type: ignore[no-untyped-def]
    """Mean of the next state, and the clean one, without the random part."""
    kept = scheduler._get_variance
    scheduler._get_variance = lambda *args, **kwargs: torch.tensor(0.0)
    try:
        out = scheduler.step(noise, t, u)
    finally:
        scheduler._get_variance = kept
    return out.prev_sample, out.pred_original_sample


@given(st.integers(0, 2**31 - 1), st.integers(2, 8))
def test_probabilities_keep_the_arg_max(seed: int, classes: int) -> None:
    y = torch.randn(5, classes, generator=torch.Generator().manual_seed(seed)) - 0.5
    probs = on_simplex(y)
    assert torch.equal(probs.argmax(1), y.argmax(1))
    assert (probs >= 0).all() and torch.allclose(probs.sum(1), torch.ones(5))


@pytest.mark.parametrize(("sampler", "steps"), [("respaced", 0), ("respaced", 1001), ("ddim", 1001), ("euler", 5)])
def test_plans_that_do_not_exist(sampler: str, steps: int) -> None:
    with pytest.raises(UserError, match=r"classifier\.(steps|sampler) must be"):
        Plan.of(sampler, steps, alpha_bars(1000))


@pytest.mark.parametrize("steps", [1, 0, -3, 2.5, True])
def test_too_few_training_steps(steps: object) -> None:
    with pytest.raises(UserError, match=r"train_steps must be a whole number of at least 2.*train_steps=1000"):
        check_train_steps(steps)  # type: ignore[arg-type]
