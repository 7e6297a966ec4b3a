"""The generator ddpm: labels, guidance, streams, resume, divergence, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_support import SMALL, draw, fit_with_a_kill, fitted
from ltbench_diffusion.training import DiffusionTraining, learning_rate
from torch import Tensor, nn

import ltbench
from ltbench.errors import ContractError, DataError, NonFinite, UserError
from ltbench.testing import tiny_context, tiny_table

STOCHASTIC = {"sampler": "ddpm", "spacing": "linspace"}
SAMPLERS: list[dict[str, Any]] = [
    {},
    {"sampler": "ddim", "spacing": "trailing"},
    {"sampler": "ddim", "eta": 0.5},
    STOCHASTIC,
    {"cfg": 2.0},
]


@pytest.mark.parametrize("options", SAMPLERS)
def test_an_image_does_not_depend_on_the_others(tmp_path: Path, options: dict[str, Any]) -> None:
    images, labels = draw(fitted(tmp_path, "ddpm", **options))
    parts, same = draw(fitted(tmp_path, "ddpm", sample_batch=2, **options))
    assert np.array_equal(labels, same) and np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    assert np.abs(images.astype(int) - parts.astype(int)).max() <= 1
    fewer, of = draw(fitted(tmp_path, "ddpm", **options), (1, 2, 0))
    first = images[np.flatnonzero(labels == 0)[0]]
    assert np.abs(fewer[of == 0][0].astype(int) - first.astype(int)).max() <= 1
    again = draw(fitted(tmp_path, "ddpm", **options))[0]
    assert np.array_equal(images, again)
    assert not np.array_equal(images, draw(fitted(tmp_path, "ddpm", **options), seed=1)[0])


def test_sampling_options_do_not_refit(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    fitted(tmp_path, "ddpm", context=context)
    folders = list((tmp_path / "fits").iterdir())
    for options in SAMPLERS:
        fitted(tmp_path, "ddpm", context=context, **options)
    assert list((tmp_path / "fits").iterdir()) == folders
    fitted(tmp_path, "ddpm", context=context, min_snr=5.0)
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_a_killed_fit_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(tmp_path / "whole", "ddpm")
    taken_up = fit_with_a_kill(tmp_path / "killed", "ddpm", monkeypatch)
    for a, b in zip(whole.net.parameters(), taken_up.net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.array_equal(draw(whole)[0], draw(taken_up)[0])


def shades(label_shuffle: bool = False) -> Any:
    """Two classes that differ in brightness alone; shuffled: the labels say nothing."""
    table = tiny_table(2, 8, 1, "test").take(np.tile(np.arange(10), 8))
    grey = np.where(table.labels == 0, 60, 190)[:, None, None, None] + np.random.default_rng(0).normal(
        0, 12, (len(table), 8, 8, 1)
    )
    ids = np.arange(len(table)).astype(str)
    labels = np.random.default_rng(1).permutation(table.labels) if label_shuffle else table.labels
    return replace(table, images=grey.clip(0, 255).astype(np.uint8), labels=labels, ids=ids, groups=ids)


def shaded(folder: Path, label_shuffle: bool = False, name: str = "ddpm", **options: Any) -> tuple[float, float]:
    """Mean grey level of the images made of the dark and of the bright class."""
    context = tiny_context(folder, num_classes=2, channels=1)
    table = shades(label_shuffle)
    generator = ltbench.build(
        "generator",
        name,
        **{**SMALL, "train_steps": 80, "train_batch": 32, "lr": 1e-2, "steps": 10, "ema": 0.95, **options},
    )
    generator.fit(table, context)
    images, labels = draw(generator, (30, 30))
    return float(images[labels == 0].mean()), float(images[labels == 1].mean())


def test_the_label_decides_and_shuffled_labels_do_not(tmp_path: Path) -> None:
    dark, bright = shaded(tmp_path / "labels")
    assert abs(dark - 60) < 35 and abs(bright - 190) < 35
    dark, bright = shaded(tmp_path / "shuffled", label_shuffle=True)
    assert abs(dark - bright) < 50


def test_only_the_chosen_class_embedding_matters(tmp_path: Path) -> None:
    generator = fitted(tmp_path, "ddpm")
    assert generator.net.class_embedding.weight.shape[0] == 4  # three classes and the null label
    before, labels = draw(generator)
    with torch.no_grad():
        generator.net.class_embedding.weight[2] += 5
        generator.net.class_embedding.weight[3] += 5  # null: unused without guidance
    after, _ = draw(generator)
    assert np.array_equal(before[labels == 0], after[labels == 0])
    assert not np.array_equal(before[labels == 2], after[labels == 2])


def test_guidance_is_the_formula(tmp_path: Path) -> None:
    """e_u + w (e_c - e_u): w = 3 on e_c = (.2, -.3), e_u = (.1, .1) is (.4, -1.1)."""
    generator = fitted(tmp_path, "ddpm")

    class Net(nn.Module):
        def forward(self, x: Tensor, at: Tensor, class_labels: Tensor) -> Any:
            given, free = torch.tensor([0.2, -0.3]), torch.tensor([0.1, 0.1])
            out = torch.where((class_labels == 3)[:, None], free, given).view(-1, 1, 1, 2)
            return type("Output", (), {"sample": out})

    generator.net = Net()
    x, at, labels = torch.zeros(2, 1, 1, 2), torch.zeros(2), torch.tensor([0, 2])
    for w, expected in ((3.0, [0.4, -1.1]), (1.0, [0.2, -0.3]), (0.0, [0.1, 0.1])):
        assert generator.predict(x, at, labels, w).flatten(1).tolist() == [pytest.approx(expected)] * 2


def test_label_dropout_is_per_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = DiffusionTraining.step

    def watched(self: Any, x0: Tensor, labels: Tensor, *rest: Any) -> None:
        seen.append(labels.clone())
        real(self, x0, labels, *rest)

    monkeypatch.setattr(DiffusionTraining, "step", watched)
    fitted(tmp_path / "a", "ddpm", p_uncond=0.5, train_batch=64)
    shares = [float((labels == 3).float().mean()) for labels in seen]
    assert all(0.2 < share < 0.8 for share in shares)
    seen.clear()
    fitted(tmp_path / "b", "ddpm", p_uncond=0.0, train_batch=64)
    assert all((labels < 3).all() for labels in seen)


def test_balanced_sampling_evens_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = DiffusionTraining.step

    def watched(self: Any, x0: Tensor, labels: Tensor, *rest: Any) -> None:
        seen.extend(labels.tolist())
        real(self, x0, labels, *rest)

    monkeypatch.setattr(DiffusionTraining, "step", watched)
    share = {}
    for power in (0.0, 0.5, 1.0):
        seen.clear()
        fitted(tmp_path / f"{power}", "ddpm", label_power=power, p_uncond=0.0, train_batch=256)
        share[power] = seen.count(2) / len(seen)  # class 2 has 2 of 24 images
    roots = np.sqrt([14, 8, 2])
    assert share[0.0] == pytest.approx(1 / 3, abs=0.06)
    assert share[0.5] == pytest.approx(roots[2] / roots.sum(), abs=0.06)
    assert share[1.0] == pytest.approx(2 / 24, abs=0.04)


@pytest.mark.parametrize(
    "options",
    [
        {"prediction": "epsilon", "schedule": "linear", "min_snr": 5.0},
        {"schedule": "scaled-linear", "zero_snr": True, "spacing": "trailing"},
        {"schedule": "scaled-linear-ldm", "spacing": "karras", "flip": True, "dropout": 0.1},
    ],
)
def test_variants_make_images(tmp_path: Path, options: dict[str, Any]) -> None:
    generator = fitted(tmp_path, "ddpm", **options)
    images, _ = draw(generator)
    assert images.shape == (7, 16, 16, 3) and images.std() > 0
    assert set(generator.notes()) == {"saturated", "dropped"}


def test_the_loss_of_a_perfect_network_is_zero(tmp_path: Path) -> None:
    for options in ({"prediction": "epsilon"}, {"prediction": "v_prediction"}, {"min_snr": 5.0}):
        generator = ltbench.build("generator", "ddpm", **options)

        class Oracle(nn.Module):
            def forward(self, x: Tensor, t: Tensor, class_labels: Tensor) -> Any:
                abar = generator.abar[t].view(-1, 1, 1, 1).float()  # noqa: B023
                eps = (x - abar.sqrt() * 0.3) / (1 - abar).sqrt()
                v = abar.sqrt() * eps - (1 - abar).sqrt() * 0.3
                return type("Output", (), {"sample": eps if generator.prediction == "epsilon" else v})  # noqa: B023

        x0, labels = torch.full((16, 1, 4, 4), 0.3), torch.zeros(16, dtype=torch.int64)
        assert float(generator.objective(Oracle(), x0, labels)) < 1e-4
        assert float(generator.objective(Oracle(), -x0, labels)) > 1e-2


def poisoned(monkeypatch: pytest.MonkeyPatch, generator: type, at: int) -> None:
    real, done = generator.objective, []  # type: ignore[attr-defined]

    def objective(self: Any, *args: Any) -> Tensor:
        done.append(1)
        return real(self, *args) * (torch.nan if len(done) > at else 1.0)

    monkeypatch.setattr(generator, "objective", objective)


def test_divergence_keeps_the_last_good_average(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ltbench_diffusion.ddpm import DDPM

    poisoned(monkeypatch, DDPM, 60)
    options = {"train_steps": 120, "train_batch": 2}
    context = tiny_context(tmp_path)
    generator = fitted(tmp_path, "ddpm", context=context, **options)
    assert all(torch.isfinite(p).all() for p in generator.net.parameters())
    images, _ = draw(generator)
    assert images.std() > 0 and generator.notes()["stopped_at"] == 100
    said = "diffusion loss is not finite at step 100: the fit stops and uses its last good moving average"
    assert caplog.text.count(said) == 1
    again = fitted(tmp_path, "ddpm", context=context, **options)
    assert np.array_equal(images, draw(again)[0]) and again.notes()["stopped_at"] == 100
    assert caplog.text.count(said) == 2, "also of a fit from the cache"


def test_divergence_from_the_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench_diffusion.ddpm import DDPM

    poisoned(monkeypatch, DDPM, 0)
    with pytest.raises(NonFinite, match=r"loss is nan at step 0; lower the rate: --set generator\.lr="):
        fitted(tmp_path, "ddpm")


def test_a_device_without_memory_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = fitted(tmp_path, "ddpm", sample_batch=7)
    expected, real, sizes = draw(generator)[0], generator.reverse, []

    def small_device(noise: Any, labels: Tensor) -> Tensor:
        sizes.append(len(labels))
        if len(labels) > 3:
            raise torch.cuda.OutOfMemoryError
        return real(noise, labels)

    monkeypatch.setattr(generator, "reverse", small_device)
    got = draw(generator)[0]
    assert sizes == [7, 3, 3, 1] and np.abs(got.astype(int) - expected.astype(int)).max() <= 1


def test_learning_rate() -> None:
    rates = [learning_rate(step, 1000, 99) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01) and rates[99] == rates[700] == 1.0
    assert rates[850] == pytest.approx(0.5) and rates[999] < 1e-4
    assert max(learning_rate(step, 10, 500) for step in range(10)) == 1.0  # a warm-up longer than the run is cut


def test_saved_networks_carry_what_they_predict(tmp_path: Path) -> None:
    generator = fitted(tmp_path, "ddpm")
    generator.save(tmp_path / "net")
    manifest = json.loads((tmp_path / "net" / "ltbench.json").read_text())
    assert (manifest["prediction"], manifest["schedule"]) == ("v_prediction", "cosine")
    again = fitted(tmp_path, "ddpm", unet_path=str(tmp_path / "net"))
    assert np.array_equal(draw(generator)[0], draw(again)[0])
    with pytest.raises(UserError, match=r"predicts v_prediction, this run expects epsilon"):
        fitted(tmp_path, "ddpm", unet_path=str(tmp_path / "net"), prediction="epsilon")
    with pytest.raises(UserError, match=r"schedule='cosine', this run has 'linear'; --set generator\.schedule=cosine"):
        fitted(tmp_path, "ddpm", unet_path=str(tmp_path / "net"), schedule="linear")
    with pytest.raises(DataError, match="no trained U-Net"):
        fitted(tmp_path, "ddpm", unet_path=str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["ddpm", "edm"])
def test_a_network_without_label_dropout_takes_no_guidance(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / "net")
    fitted(tmp_path, name, p_uncond=0.0).save(path)
    fitted(tmp_path, name, unet_path=path)
    with pytest.raises(UserError, match=r"a network trained with p_uncond=0 never learned; set generator\.cfg=1"):
        fitted(tmp_path, name, unet_path=path, cfg=2.0)
    fitted(tmp_path, name).save(path)
    fitted(tmp_path, name, unet_path=path, cfg=2.0)


def test_a_class_without_an_image_is_named(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    table = context.train.take(np.flatnonzero(context.train.labels != 1))
    with pytest.raises(DataError, match=r"class 'class-1' has no training image"):
        ltbench.build("generator", "ddpm", **SMALL).fit(table, context)


def test_sizes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generator\.size must be a multiple of 4 for 3 widths, got 18"):
        fitted(tmp_path, "ddpm", size=18, widths=[8, 8, 8])
    assert draw(fitted(tmp_path, "ddpm", size=12))[0].shape == (7, 12, 12, 3)
    with pytest.raises(ContractError, match="counts"):
        draw(fitted(tmp_path, "ddpm"), (1, 1))
    images, labels = draw(fitted(tmp_path, "ddpm"), (0, 0, 0))
    assert images.shape == (0, 16, 16, 3) and len(labels) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "sigmoid"}, r"generator\.schedule must be one of linear, cosine"),
        ({"prediction": "x0"}, r"generator\.prediction must be one of"),
        ({"sampler": "euler"}, r"generator\.sampler must be one of"),
        ({"spacing": "leading"}, r"generator\.spacing must be one of"),
        ({"steps": 1}, r"generator\.steps must be a whole number of at least 2"),
        ({"cfg": 2.0, "p_uncond": 0.0}, r"cfg=2 mixes in predictions without a class.*p_uncond=0\.1"),
        ({"cfg": -1}, r"generator\.cfg must be"),
        ({"p_uncond": 1}, r"generator\.p_uncond must be"),
        ({"label_power": 2}, r"generator\.label_power must be"),
        ({"zero_snr": True, "prediction": "epsilon"}, r"zero_snr.*prediction=v_prediction"),
        ({"eta": 0.5, "sampler": "dpm++"}, r"generator\.eta=0\.5 is for generator\.sampler=ddim"),
        ({"min_snr": 0}, r"generator\.min_snr must be"),
        ({"lr": float("nan")}, r"generator\.lr must be"),
        ({"widths": []}, r"generator\.widths must be"),
        ({"size": 2}, r"generator\.size must be"),
        ({"train_steps": 1.5}, r"generator\.train_steps must be"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ltbench.build("generator", "ddpm", **options)
