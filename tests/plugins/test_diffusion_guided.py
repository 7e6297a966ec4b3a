"""The generator guided-ddpm: exact counts, repeatability, frozen networks, bad input."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_diffusion.unet import fit_shape, norm_groups
from torch import Tensor, nn

import ltbench
from ltbench.errors import ContractError, DataError, NonFinite, UserError
from ltbench.interfaces import ImageTable, Task
from ltbench.models.images import resized, to_signed, to_uint8

torch.set_num_threads(1)
SMALL = {"train_steps": 4, "steps": 4, "widths": [8, 8], "train_batch": 8}


class FakeContext:
    """The services of a fit, without a cache."""

    def __init__(self, table: ImageTable, classes: int) -> None:
        counts = np.bincount(table.labels, minlength=classes)
        self.task = Task(classes, tuple("abcdefghij"[:classes]), counts, table.images.shape[1:])
        self.val = ImageTable(table.images[:1], table.labels[:1], np.array(["held-out"]), np.array(["held-out"]))
        self.device, self.owner, self.options, self.roles = torch.device("cpu"), None, None, []  # type: Any, Any, Any, Any

    def rng(self, *tags: Any) -> np.random.Generator:
        return np.random.default_rng(list("/".join(map(str, tags)).encode()))

    def autocast(self) -> Any:
        return contextlib.nullcontext()

    def steps(self, name: str, total: int, owner: Any, options: Any = None) -> Iterator[int]:
        self.owner, self.options = owner, options
        for step in range(total):
            torch.manual_seed(step)
            yield step

    def reference(self, role: str) -> Any:
        self.roles.append(role)
        return NetGuide()


class NetGuide:
    """A small network with batch normalisation as guide."""

    def __init__(self, channels: int = 1) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(16, 3)
        self.net.eval()
        self.calls = 0

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.net(x).flatten(1)).log_softmax(1).gather(1, labels[:, None])[:, 0]


def table(side: int = 8, channels: int = 1, n: int = 20) -> ImageTable:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, side, side, channels)).astype(np.uint8)
    ids = np.arange(n).astype(str)
    return ImageTable(images, rng.integers(0, 3, n).astype(np.int64), ids, ids)


def fitted(side: int = 8, channels: int = 1, **options: Any) -> Any:
    generator = ltbench.build("generator", "guided-ddpm", **{**SMALL, **options})
    images = table(side, channels)
    generator.fit(images, FakeContext(images, 3))
    return generator


def draw(generator: Any, counts: Any = (3, 0, 4), guide: Any = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return generator.sample(np.array(counts), guide=guide or NetGuide(), rng=np.random.default_rng(seed))


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 3), (70, 3)])
@pytest.mark.parametrize("conditioning", ["none", "class"])
def test_exact_counts_at_every_size(side: int, channels: int, conditioning: str) -> None:
    generator = fitted(side, channels, conditioning=conditioning, sample_batch=3)
    images, labels = draw(generator, guide=NetGuide(channels))
    assert np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert images.shape == (7, min(side, 32), min(side, 32), channels)
    assert set(generator.notes()) == {"saturated", "dropped", "zeroed"}


def test_no_images_at_all() -> None:
    images, labels = draw(fitted(), (0, 0, 0))
    assert images.shape == (0, 8, 8, 1)
    assert len(labels) == 0


@pytest.mark.parametrize("input", ["x_t", "x0_pred", "x0_pred_full"])
def test_the_same_seed_gives_the_same_images(input: str) -> None:
    generator = fitted(guidance_input=input, scale=3.0)
    first, second, other = draw(generator), draw(generator), draw(generator, seed=1)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


def test_two_fits_are_equal() -> None:
    assert np.array_equal(draw(fitted())[0], draw(fitted())[0])


def test_scale_zero_equals_no_guide_and_never_asks_it() -> None:
    guide = NetGuide()
    unguided = draw(fitted(guide="none"), guide=guide)
    zero = draw(fitted(scale=0.0), guide=guide)
    assert guide.calls == 0
    assert np.array_equal(unguided[0], zero[0])
    assert not np.array_equal(unguided[0], draw(fitted(scale=5.0), guide=guide)[0])


def test_networks_stay_as_they_were() -> None:
    generator, guide = fitted(scale=2.0), NetGuide()

    def snapshot() -> list[Tensor]:
        tensors = [*generator.unet.state_dict().values(), *guide.net.state_dict().values()]
        return [t.clone() for t in tensors]

    before = snapshot()
    draw(generator, guide=guide)
    assert all(torch.equal(a, b) for a, b in zip(before, snapshot(), strict=True))
    assert not generator.unet.training
    assert all(p.grad is None for p in [*generator.unet.parameters(), *guide.net.parameters()])


def test_batch_size_does_not_change_the_images() -> None:
    whole, parts = draw(fitted())[0], draw(fitted(sample_batch=2))[0]
    assert np.abs(whole.astype(int) - parts.astype(int)).max() <= 1


def test_gradient_agrees_with_finite_differences_through_resize() -> None:
    from ltbench_diffusion.ddim import gradient

    guide = NetGuide()
    guide.net.double()
    guide.head.double()

    def log_prob(x: Tensor, t: int) -> Tensor:
        small = nn.functional.interpolate((x + 1) / 2, size=(6, 6), mode="bilinear", antialias=True)
        return guide.log_prob((small - 0.4) / 0.2, torch.tensor([1, 2]))

    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    g = (gradient(log_prob, x, 0) * direction).flatten(1).sum(1)
    with torch.no_grad():
        numeric = (log_prob(x + 1e-5 * direction, 0) - log_prob(x - 1e-5 * direction, 0)) / 2e-5
    assert torch.allclose(g, numeric, rtol=1e-6)


def test_a_guide_without_finite_gradient_is_an_error() -> None:
    broken = SimpleNamespace(log_prob=lambda x, labels: x.sum((1, 2, 3)) * torch.where(labels == 2, torch.nan, 1.0))
    with pytest.raises(NonFinite, match=r"most of class 'c'.*lower the scale"):
        draw(fitted(), guide=broken)


def test_constant_images_are_redrawn_and_then_an_error() -> None:
    generator = fitted(guide="none")
    real, calls = generator._reverse, []

    def sometimes(start: Tensor, *rest: Any) -> Any:
        x, zeroed = real(start, *rest)
        calls.append(len(start))
        if len(calls) == 1:
            x[:2] = torch.tensor([torch.nan, 0.5]).view(2, 1, 1, 1)
        return x, zeroed

    generator._reverse = sometimes
    draw(generator)
    assert calls == [7, 2]
    assert generator.notes()["dropped"] == 2
    generator._reverse = lambda start, *rest: (torch.zeros_like(start), torch.zeros(len(start), dtype=torch.int64))
    with pytest.raises(NonFinite, match="constant or non-finite"):
        draw(generator)


def test_no_guide_draws_the_unguided_control() -> None:
    guided, unguided = fitted(), fitted(guide="none")
    assert guided.guided and not unguided.guided
    counts = np.array([1, 1, 1])
    control = guided.sample(counts, guide=None, rng=np.random.default_rng(0))
    same = unguided.sample(counts, guide=None, rng=np.random.default_rng(0))
    assert np.array_equal(control[0], same[0]) and np.array_equal(control[1], same[1])


def test_wrong_counts() -> None:
    generator = fitted()
    with pytest.raises(ContractError, match="counts"):
        draw(generator, (1, 1))


def test_the_reference_guides_offline() -> None:
    generator = ltbench.build("generator", "guided-ddpm", **SMALL, guide="reference")
    context = FakeContext(table(), 3)
    generator.fit(table(), context)
    assert context.roles == ["guide"]
    generator.sample(np.array([1, 1, 1]), guide=None, rng=np.random.default_rng(0))
    assert set(context.options) == generator.fit_options


def test_training_resumes_from_its_state() -> None:
    generator = fitted()
    context = FakeContext(table(), 3)
    generator.fit(table(), context)
    state = context.owner.state_dict()
    assert set(state) == {"unet", "optimizer", "ema", "good"}
    other = FakeContext(table(), 3)
    generator.options["train_steps"] = 1
    generator.fit(table(), other)
    other.owner.load_state_dict(state)
    assert torch.equal(state["ema"]["shadow_params"][0], other.owner.ema.state_dict()["shadow_params"][0])


@pytest.mark.parametrize("nan_from", [0, 5])
def test_divergence_keeps_the_last_good_average(
    nan_from: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ltbench_diffusion import last_good
    from ltbench_diffusion.unet import UNetTraining

    real = UNetTraining.step

    def poisoned(self: Any, x0: Tensor, labels: Any, done: int, autocast: Any) -> Tensor:
        return real(self, x0 * torch.nan if done >= nan_from else x0, labels, done, autocast)

    monkeypatch.setattr(last_good, "EVERY", 2)
    monkeypatch.setattr(UNetTraining, "step", poisoned)
    if nan_from == 0:
        with pytest.raises(NonFinite, match=r"diffusion loss is nan at step 1; lower it: --set generator\.lr="):
            fitted(train_steps=9)
        return
    generator = fitted(train_steps=9)
    assert "diffusion loss is not finite at step 5: the fit stops and uses its last good weights" in caplog.text
    assert all(torch.isfinite(p).all() for p in generator.unet.parameters())
    draw(generator)
    assert generator.notes()["stopped_at"] == 5


def test_weights_of_an_older_fit_load() -> None:
    """Before the last good weights were kept, a state had none."""
    context = FakeContext(table(), 3)
    generator = fitted()
    generator.fit(table(), context)
    state = context.owner.state_dict()
    del state["good"]
    context.owner.load_state_dict(state)
    assert context.owner.good.stopped == -1 and context.owner.good.kept == []


@pytest.mark.parametrize(("size", "fits"), [(9, "8 or 10"), (18, "16 or 20")])
def test_a_size_the_network_cannot_take(size: int, fits: str) -> None:
    words = rf"generator\.size must be a multiple of .* widths, got {size}; --set generator\.size={fits}"
    with pytest.raises(UserError, match=words):
        fitted(size=size, widths=[8, 8, 8])
    assert fitted(size=12, widths=[8, 8]).shape == (1, 12, 12)


def test_noise_of_steps_and_redraws_is_that_of_the_image() -> None:
    drawn = [draw(fitted(eta=1.0, guide="none", sample_batch=batch)) for batch in (1, 3, 7)]
    for images, labels in drawn[1:]:
        assert np.array_equal(labels, drawn[0][1])
        assert np.abs(images.astype(int) - drawn[0][0].astype(int)).max() <= 1
    assert np.abs(drawn[0][0].astype(int) - draw(fitted(guide="none"))[0]).max() > 1


def test_saved_networks_load_and_mismatches_are_named(tmp_path: Path) -> None:
    generator = fitted()
    generator.save(tmp_path / "unet")
    again = fitted(unet_path=str(tmp_path / "unet"))
    assert np.array_equal(draw(generator)[0], draw(again)[0])
    with pytest.raises(UserError, match=r"\(8, 1, None\).*\(16, 1, None\)"):
        fitted(16, unet_path=str(tmp_path / "unet"))
    with pytest.raises(UserError, match=r"\(8, 1, None\).*\(8, 3, None\)"):
        fitted(8, 3, unet_path=str(tmp_path / "unet"))
    with pytest.raises(DataError, match=r"no trained U-Net in .*missing.*save_pretrained"):
        fitted(unet_path=str(tmp_path / "missing"))
    with pytest.raises(UserError, match=r"predicts epsilon, this run expects v_prediction; .*prediction=epsilon"):
        fitted(unet_path=str(tmp_path / "unet"), prediction="v_prediction")
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"zeros")
    with pytest.raises(DataError, match="cannot be read"):
        fitted(unet_path=str(tmp_path / "unet"))


@pytest.mark.parametrize(
    ("trained_on", "leaks"),
    [
        (["0", "1", "held-out"], True),  # a validation image
        (["held-out"], True),
        (["0", "1", "elsewhere"], True),  # another split of the same data: some of its test part may be in it
        (["a", "b"], False),  # another data set
        (["0", "1"], False),
    ],
)
def test_a_network_that_saw_held_out_images_is_refused(tmp_path: Path, trained_on: list[str], leaks: bool) -> None:
    fitted().save(tmp_path)
    manifest = json.loads((tmp_path / "ltbench.json").read_text())
    assert manifest["train_ids"] == [str(i) for i in range(20)]
    (tmp_path / "ltbench.json").write_text(json.dumps({**manifest, "train_ids": trained_on}))
    if leaks:
        with pytest.raises(UserError, match=r"trained on 1 images that this run holds out.*unet_path=none"):
            fitted(unet_path=str(tmp_path))
    else:
        fitted(unet_path=str(tmp_path))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("conditioning", "label"),
        ("guidance_input", "x1"),
        ("steps", 0),
        ("steps", 2000),
        ("train_steps", 1.5),
        ("widths", []),
        ("scale", -1),
        ("scale", float("nan")),
        ("ema", 1),
        ("eta", 2),
        ("guidance_start", 1.5),
        ("lr", 0),
        ("size", 2),
    ],
)
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"generator\.{option} must be"):
        ltbench.build("generator", "guided-ddpm", **{option: value})


def test_shapes() -> None:
    assert fit_shape(8, 32, [16, 32, 32]) == (8, (16, 32))
    assert fit_shape(28, 32, [16, 32, 32]) == (28, (16, 32, 32))
    assert fit_shape(30, 32, [16, 32, 32]) == (32, (16, 32, 32))
    assert fit_shape(224, 64, [64, 128, 128, 256]) == (64, (64, 128, 128, 256))
    for widths in ([16, 32], [24, 48], [64, 128, 128, 256], [7, 7]):
        assert all(w % norm_groups(widths) == 0 for w in widths)


def test_pixels_survive_the_round_trip() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_uint8(to_signed(resized(images, (16, 16)))), images)
    assert resized(images, (8, 8)).shape == (1, 1, 8, 8)
