"""The generator skin-sdm on a random Stable Diffusion folder that diffusers saved: loading, fine-tuning, sampling."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_support import draw, fit_with_a_kill
from ltbench_diffusion.lora import LowRank, adapt
from ltbench_diffusion.schedules import alphas_cumprod
from ltbench_diffusion.skin_sdm import SkinSDM
from ltbench_diffusion.stable_diffusion import load_stable_diffusion

import ltbench
from ltbench.errors import DataError, UserError
from ltbench.testing import check_component, tiny_context, tiny_table

pytest.importorskip("transformers")
from tiny_stable_diffusion import save_pipeline

QUICK: dict[str, Any] = {"train_steps": 3, "train_batch": 4, "warmup": 1, "lr": 1e-3, "steps": 3, "rank": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_pipeline(tmp_path_factory.mktemp("stable-diffusion")))


def fitted(folder: Path, weights: str, context: Any = None, **options: Any) -> Any:
    context = context or tiny_context(folder)
    return context.fit_generator({"name": "skin-sdm", "weights": weights, **QUICK, **options})


def test_it_conforms_where_there_are_weights(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SkinSDM, "TEST_OPTIONS", {"weights": weights, **QUICK, "size": None}, raising=False)
    assert any("feeds 2 epochs" in line for line in check_component("generator", "skin-sdm"))


def test_conformance_says_where_weights_are_missing() -> None:
    lines = list(check_component("generator", "skin-sdm"))
    assert "its weights are not here" in lines[-1]


@pytest.mark.parametrize("given", [None, "missing"])
def test_missing_weights_are_explained(tmp_path: Path, given: str | None) -> None:
    with pytest.raises(DataError, match=r"local folder with unet, vae.*generator\.weights=FOLDER.*skin-sdm-scratch"):
        fitted(tmp_path, given and str(tmp_path / given))


def test_incomplete_and_broken_weights(tmp_path: Path, weights: str) -> None:
    shutil.copytree(weights, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "vae")
    with pytest.raises(DataError, match=r"\(vae missing\)"):
        fitted(tmp_path, str(tmp_path / "w"))
    shutil.copytree(Path(weights) / "vae", tmp_path / "w" / "vae")
    (tmp_path / "w" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match="cannot be read"):
        fitted(tmp_path, str(tmp_path / "w"))
    shutil.copytree(weights, tmp_path / "s")
    config = tmp_path / "s" / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prediction_type": "sample"}))
    with pytest.raises(DataError, match="predict 'sample'"):
        fitted(tmp_path, str(tmp_path / "s"))


def test_without_transformers_it_says_how_to_install(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'ltbench\[skin-sdm\]'"):
        load_stable_diffusion(weights, ["a"], torch.device("cpu"))


def test_the_folder_decides_schedule_and_prediction(tmp_path: Path, weights: str) -> None:
    generator = fitted(tmp_path, weights)
    assert torch.allclose(generator.abar, alphas_cumprod("scaled-linear"), atol=1e-5)
    assert generator.prediction == "epsilon"
    prompts = generator.net.prompts
    assert prompts.shape == (4, 40, 16)  # three classes and the empty prompt
    assert all(not torch.allclose(prompts[i], prompts[j]) for i in range(4) for j in range(i))


def test_the_network_and_the_images_are_those_of_the_pipeline(tmp_path: Path, weights: str) -> None:
    """Untrained, the prompts, guidance and VAE do what StableDiffusionPipeline does from the same noise."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    generator = fitted(tmp_path, weights, train="none", sampler="ddim", spacing="trailing", cfg=2.0)
    pipeline = StableDiffusionPipeline.from_pretrained(weights, local_files_only=True, low_cpu_mem_usage=False)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    noise = torch.randn(1, 4, 8, 8)
    expected = pipeline(
        "a dermatoscopic image of class-1",
        num_inference_steps=3,
        guidance_scale=2.0,
        latents=noise,
        output_type="pt",
        height=16,
        width=16,
    ).images
    made = generator.make(lambda i: noise, torch.tensor([1]))
    assert torch.allclose((made + 1) / 2, expected, atol=2e-3)


@pytest.mark.parametrize(("channels", "train"), [(1, "full"), (3, "lora"), (3, "none")])
def test_images_have_the_size_of_the_training_images(tmp_path: Path, weights: str, channels: int, train: str) -> None:
    context = tiny_context(tmp_path, channels=channels, protocol={"image_size": 12, "stored_size": 12})
    images, labels = draw(fitted(tmp_path, weights, context, train=train), (2, 0, 1))
    assert images.shape == (3, 12, 12, channels) and np.bincount(labels, minlength=3).tolist() == [2, 0, 1]


def test_full_training_moves_the_unet_alone(tmp_path: Path, weights: str) -> None:
    before = load_stable_diffusion(weights, ["a"], torch.device("cpu"))
    after = fitted(tmp_path, weights, train="full").pipe
    changed = [not torch.equal(a, b) for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True)]
    assert sum(changed) > 0.9 * len(changed)
    assert all(torch.equal(a, b) for a, b in zip(before.vae.parameters(), after.vae.parameters(), strict=True))


def test_low_rank_training_keeps_the_weights_and_starts_at_the_pipeline(tmp_path: Path, weights: str) -> None:
    before = load_stable_diffusion(weights, ["a"], torch.device("cpu"))
    x, t, told = torch.randn(2, 4, 8, 8), torch.tensor([5, 900]), before.prompts.expand(2, -1, -1)
    expected = before.unet(x, t, encoder_hidden_states=told).sample
    layers = adapt(before.unet, 2)
    assert layers == 4 * 2 * sum("Transformer2DModel" in type(m).__name__ for m in before.unet.modules())
    assert torch.equal(before.unet(x, t, encoder_hidden_states=told).sample, expected)
    after = fitted(tmp_path, weights, train="lora").pipe.unet
    pairs = [m for m in after.modules() if isinstance(m, LowRank)]
    assert len(pairs) == layers and all(float(m.up.abs().max()) > 0 for m in pairs if m.base.in_features)
    frozen = {n.replace(".base", ""): p for n, p in after.named_parameters() if not n.endswith((".up", ".down"))}
    original = load_stable_diffusion(weights, ["a"], torch.device("cpu")).unet.named_parameters()
    assert all(torch.equal(frozen[name], p) for name, p in original)


def test_an_image_does_not_depend_on_the_others(tmp_path: Path, weights: str) -> None:
    for sampler in ("dpm++", "ddpm"):
        images, _ = draw(fitted(tmp_path, weights, sampler=sampler))
        parts, _ = draw(fitted(tmp_path, weights, sampler=sampler, sample_batch=2))
        assert np.abs(images.astype(int) - parts.astype(int)).max() <= 1


def test_a_killed_fit_ends_as_an_uninterrupted_one(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusion_support

    monkeypatch.setattr(diffusion_support, "SMALL", {"weights": weights, **QUICK, "train": "lora"})
    whole = fitted(tmp_path / "whole", weights, train="lora")
    taken_up = fit_with_a_kill(tmp_path / "killed", "skin-sdm", monkeypatch)
    assert np.array_equal(draw(whole)[0], draw(taken_up)[0])


def test_other_weights_are_another_fit(tmp_path: Path, weights: str) -> None:
    context = tiny_context(tmp_path)
    fitted(tmp_path, weights, context)
    shutil.copytree(weights, tmp_path / "moved")
    fitted(tmp_path, str(tmp_path / "moved"), context, cfg=1.0)
    assert len(list((tmp_path / "fits").iterdir())) == 1
    other = save_pipeline(tmp_path / "other", prediction="v_prediction")
    fitted(tmp_path, str(other), context)
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_other_class_names_are_another_fit(tmp_path: Path, weights: str) -> None:
    context = tiny_context(tmp_path)
    fitted(tmp_path, weights, context)
    context.task = replace(context.task, class_names=("naevus", "melanoma", "wart"))
    fitted(tmp_path, weights, context)
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_a_size_the_network_cannot_take(tmp_path: Path, weights: str) -> None:
    with pytest.raises(UserError, match=r"multiple of 4 px for these weights, got 18; --set generator\.size=16 or 20$"):
        fitted(tmp_path, weights, size=18)


def test_a_class_without_an_image_is_named(tmp_path: Path, weights: str) -> None:
    context = tiny_context(tmp_path)
    table = tiny_table().take(np.flatnonzero(tiny_table().labels != 2))
    with pytest.raises(DataError, match=r"class 'class-2' has no training image"):
        ltbench.build("generator", "skin-sdm", weights=weights, **QUICK).fit(table, context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "a mole"}, r"generator\.prompt must hold \{class\}"),
        ({"train": "vae"}, r"generator\.train must be one of full, lora, none"),
        ({"cfg": 2.0, "p_uncond": 0.0}, r"cfg=2 mixes in predictions without a class"),
        ({"steps": 1}, r"generator\.steps must be"),
        ({"eta": 0.5}, r"generator\.eta=0.5 is for generator\.sampler=ddim, got 'dpm\+\+'"),
        ({"eta": 1.0, "sampler": "ddpm"}, r"generator\.eta=1 is for generator\.sampler=ddim, got 'ddpm'"),
        ({"eta": 1.5, "sampler": "ddim"}, r"generator\.eta must be"),
        ({"rank": 0}, r"generator\.rank must be"),
        ({"size": 4}, r"generator\.size must be"),
        ({"lr": -1}, r"generator\.lr must be"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("generator", "skin-sdm", **options)
