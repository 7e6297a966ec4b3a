"""The generators ldm and skin-sdm-scratch: two cached phases, sizes, latents, mirrored images, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_support import SMALL, draw, fit_with_a_kill, fitted
from ltbench_diffusion.latents import latent_examples

import ltbench
from ltbench.errors import NonFinite, UserError
from ltbench.testing import tiny_context, tiny_table

AE: dict[str, Any] = {"ae_widths": [8, 8], "ae_steps": 3, "ae_batch": 4}


@pytest.mark.parametrize("name", ["ldm", "skin-sdm-scratch"])
def test_images_come_out_at_the_size_of_the_training_images(tmp_path: Path, name: str) -> None:
    generator = fitted(tmp_path, name, **AE)
    images, labels = draw(generator)
    assert generator.shape == (4, 8, 8) and images.shape == (7, 16, 16, 3)
    assert np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    parts, _ = draw(fitted(tmp_path, name, **AE, sample_batch=2))
    assert np.abs(images.astype(int) - parts.astype(int)).max() <= 1


def test_phases_are_shared_where_their_options_agree(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)

    def phases() -> int:
        return len(list((tmp_path / "fits").iterdir()))

    fitted(tmp_path, "ldm", context=context, **AE)
    assert phases() == 2
    fitted(tmp_path, "ldm", context=context, **AE, steps=5, cfg=2.0, sampler="ddim")
    assert phases() == 2
    fitted(tmp_path, "ldm", context=context, **{**AE, "ae_steps": 4})
    assert phases() == 4


def test_latents_have_unit_variance_and_mirrored_images_their_own(tmp_path: Path) -> None:
    context, table = tiny_context(tmp_path), tiny_table()
    generator = fitted(tmp_path, "ldm", context=context, **{**AE, "ae_steps": 30}, flip=True)
    examples = generator.examples(context.train, context)
    assert examples.x.shape == (48, 4, 8, 8) and not examples.mirror
    total = examples.x.var() + examples.sd.square().mean()  # of the mean and of the posterior around it
    assert float(total.sqrt()) == pytest.approx(1.0, abs=0.1)
    torch.manual_seed(0)
    drawn, _ = examples.batch(2000)
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.1)
    assert torch.equal(examples.labels[:24], examples.labels[24:])
    pixels = latent_examples(
        lambda x: (x, torch.zeros_like(x)), table.images, table.labels, context, size=16, power=1.0, flip=True, batch=7
    )
    assert torch.equal(pixels.x[24:], pixels.x[:24].flip(3))


def test_without_halvings_it_is_ddpm_in_pixels(tmp_path: Path) -> None:
    """An autoencoder without levels is the identity, so the latents are the pixels."""
    generator = ltbench.build("generator", "ldm", **SMALL, **{**AE, "ae_widths": []}, flip=False)
    context = tiny_context(tmp_path)
    generator.fit(context.train, context)
    pixels = generator.examples(context.train, context).x
    wanted = torch.from_numpy(np.array(context.train.images)).permute(0, 3, 1, 2) / 127.5 - 1
    assert generator.shape == (3, 16, 16) and torch.allclose(pixels, wanted, atol=1e-6)


def test_a_killed_fit_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(tmp_path / "whole", "ldm", **AE)
    taken_up = fit_with_a_kill(tmp_path / "killed", "ldm", monkeypatch, **AE)
    assert np.array_equal(draw(whole)[0], draw(taken_up)[0])


def test_mgdm_works_in_latents(tmp_path: Path) -> None:
    spec = {"name": "mgdm", "base": {"name": "ldm", **SMALL, **AE}, "bridge_steps": 4}
    small = {"classifier_widths": [8], "classifier_steps": 2, "classifier_batch": 4}
    context = tiny_context(tmp_path)
    generator = context.fit_generator({**spec, **small})
    images, _ = draw(generator)
    assert images.shape == (7, 16, 16, 3)
    assert set(context.fits) == {"ldm/autoencoder", "ldm/unet", "mgdm/classifier"}  # the base's latents, no others
    alone = tiny_context(tmp_path).fit_generator(spec["base"])
    x = torch.rand(2, *alone.shape)
    assert torch.equal(generator.base.decode(x), alone.decode(x))


def test_sizes(tmp_path: Path) -> None:
    words = r"a multiple of 4 for 2 widths .* and 2 of the U-Net, got 18; --set generator\.size=16 or 20"
    with pytest.raises(UserError, match=words):
        fitted(tmp_path, "ldm", **AE, size=18)
    assert draw(fitted(tmp_path, "ldm", **AE, size=20))[0].shape == (7, 20, 20, 3)


def test_a_collapsed_autoencoder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NonFinite, match=r"collapsed|loss is"):
        fitted(tmp_path, "ldm", **{**AE, "ae_steps": 100}, ae_lr=1e30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ae_widths": [0]}, r"generator\.ae_widths must be"),
        ({"ae_widths": 3}, r"generator\.ae_widths must be"),
        ({"max_size": None}, r"generator\.max_size must be"),
        ({"latent_channels": 0}, r"generator\.latent_channels must be"),
        ({"ae_lr": 0}, r"generator\.ae_lr must be"),
        ({"cfg": 2.0, "p_uncond": 0.0}, r"cfg=2 mixes in predictions without a class"),
        ({"steps": 1}, r"generator\.steps must be"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("generator", "ldm", **options)


@pytest.mark.parametrize("name", ["ldm", "skin-sdm-scratch", "mgdm", "skin-sdm"])
@pytest.mark.parametrize("tier", ["tiny", "base", "paper"])
def test_tiers_hold_known_options(name: str, tier: str) -> None:
    cls = type(ltbench.build("generator", name))
    ltbench.build("generator", name, **cls.TIERS[tier])
