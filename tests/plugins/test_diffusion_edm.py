"""The generator edm: objective, measured sigma_data, guidance interval, streams, resume, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_support import draw, fit_with_a_kill, fitted
from ltbench_diffusion.edm import NOISE_SCALE
from test_diffusion_ddpm import shaded
from torch import Tensor, nn

import ltbench
from ltbench.errors import NonFinite, UserError
from ltbench.models.images import resized, to_signed
from ltbench.testing import tiny_context, tiny_table


class Oracle(nn.Module):
    """What the network has to give where every image is the constant `value`."""

    def __init__(self, value: float, sigma_data: float) -> None:
        super().__init__()
        self.value, self.sd = value, sigma_data
        self.at: list[Tensor] = []

    def forward(self, x: Tensor, at: Tensor, class_labels: Tensor) -> Any:
        self.at.append(at)
        sigma = (4 * at / NOISE_SCALE).exp().view(-1, 1, 1, 1)
        total = sigma**2 + self.sd**2
        noisy = x * total.sqrt()
        out = (self.value - self.sd**2 / total * noisy) * total.sqrt() / (sigma * self.sd)
        return type("Output", (), {"sample": out})


def test_the_loss_of_a_perfect_network_is_zero_and_one_at_the_start() -> None:
    generator = ltbench.build("generator", "edm", sigma_data=0.5)
    oracle, labels = Oracle(0.3, 0.5), torch.zeros(256, dtype=torch.int64)
    torch.manual_seed(0)
    assert float(generator.objective(oracle, torch.full((256, 1, 4, 4), 0.3), labels)) < 1e-3
    levels = torch.cat(oracle.at) * 4 / NOISE_SCALE  # ln sigma
    assert float(levels.mean()) == pytest.approx(-1.2, abs=0.25) and float(levels.std()) == pytest.approx(1.2, abs=0.2)

    class Silent(nn.Module):
        def forward(self, x: Tensor, at: Tensor, class_labels: Tensor) -> Any:
            return type("Output", (), {"sample": torch.zeros_like(x)})

    data = 0.5 * torch.randn(256, 1, 4, 4)
    assert float(generator.objective(Silent(), data, labels)) == pytest.approx(1.0, abs=0.1)


def test_heun_with_a_perfect_network_returns_the_image(tmp_path: Path) -> None:
    generator = fitted(tmp_path, "edm", sigma_data=0.5, steps=8)
    generator.net = Oracle(0.3, 0.5)
    x = generator.reverse(lambda i: torch.randn(2, 1, 4, 4), torch.tensor([0, 1]))
    assert torch.allclose(x, torch.full_like(x, 0.3), atol=1e-3)


def test_sigma_data_is_measured(tmp_path: Path) -> None:
    generator = fitted(tmp_path, "edm")
    pixels = to_signed(resized(tiny_table().images, (16, 16)))
    assert generator.sigma_data == pytest.approx(float(pixels.std()), rel=1e-6)
    assert fitted(tmp_path, "edm", sigma_data=0.5).sigma_data == 0.5


def test_digits_have_a_standard_deviation_of_three_quarters() -> None:
    dataset = ltbench.build("dataset", "digits-lt")
    pixels = to_signed(torch.from_numpy(np.array(dataset.load(Path(), 8).images)))
    assert float(pixels.std()) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("options", [{}, {"cfg": 2.0}, {"cfg": 2.0, "cfg_interval": [0.3, 5.0]}])
def test_an_image_does_not_depend_on_the_others(tmp_path: Path, options: dict[str, Any]) -> None:
    images, labels = draw(fitted(tmp_path, "edm", **options))
    parts, _ = draw(fitted(tmp_path, "edm", sample_batch=2, **options))
    assert images.shape == (7, 16, 16, 3) and np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    assert np.abs(images.astype(int) - parts.astype(int)).max() <= 1


def test_the_interval_limits_guidance(tmp_path: Path) -> None:
    plain = draw(fitted(tmp_path, "edm"))[0]
    everywhere = draw(fitted(tmp_path, "edm", cfg=3.0))[0]
    assert np.array_equal(plain, draw(fitted(tmp_path, "edm", cfg=3.0, cfg_interval=[100, 200]))[0])
    assert np.array_equal(everywhere, draw(fitted(tmp_path, "edm", cfg=3.0, cfg_interval=[0, 200]))[0])
    assert not np.array_equal(plain, everywhere)
    assert len(list((tmp_path / "fits").iterdir())) == 1


def test_the_label_decides(tmp_path: Path) -> None:
    dark, bright = shaded(tmp_path, name="edm")
    assert abs(dark - 60) < 35 and abs(bright - 190) < 35


def test_a_killed_fit_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(tmp_path / "whole", "edm")
    taken_up = fit_with_a_kill(tmp_path / "killed", "edm", monkeypatch)
    assert np.array_equal(draw(whole)[0], draw(taken_up)[0])


def test_saved_networks_keep_sigma_data(tmp_path: Path) -> None:
    generator = fitted(tmp_path, "edm", sigma_data=0.4)
    generator.save(tmp_path / "net")
    again = fitted(tmp_path, "edm", unet_path=str(tmp_path / "net"))
    assert again.sigma_data == 0.4 and np.array_equal(draw(generator)[0], draw(again)[0])
    other = fitted(tmp_path, "ddpm")
    other.save(tmp_path / "ddpm")
    with pytest.raises(UserError, match="predicts v_prediction, this run expects edm"):
        fitted(tmp_path, "edm", unet_path=str(tmp_path / "ddpm"))


def test_divergence_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NonFinite, match=r"lower the rate: --set generator\.lr="):
        fitted(tmp_path, "edm", lr=1e30, train_steps=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, r"generator\.steps must be a whole number of at least 2"),
        ({"sigma_min": 90.0}, r"generator\.sigma_min must be below sigma_max=80, got 90"),
        ({"sigma_data": 0.0}, r"generator\.sigma_data must be"),
        ({"p_std": 0.0}, r"generator\.p_std must be"),
        ({"cfg_interval": [5, 0.3]}, r"generator\.cfg_interval must be two noise levels"),
        ({"cfg_interval": 3}, r"generator\.cfg_interval must be two noise levels"),
        ({"cfg_interval": ["a", "b"]}, r"generator\.cfg_interval must be two noise levels"),
        ({"cfg": 2.0, "p_uncond": 0.0}, r"cfg=2 mixes in predictions without a class"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("generator", "edm", **options)


def test_tiers_hold_known_options() -> None:
    for name in ("ddpm", "edm"):
        for tier in ("tiny", "base", "paper"):
            cls = type(ltbench.build("generator", name))
            ltbench.build("generator", name, **cls.TIERS[tier])


def test_one_channel_and_two_classes(tmp_path: Path) -> None:
    generator = fitted(tmp_path, "edm", context=tiny_context(tmp_path, num_classes=2, channels=1))
    assert draw(generator, (1, 2))[0].shape == (3, 16, 16, 1)
