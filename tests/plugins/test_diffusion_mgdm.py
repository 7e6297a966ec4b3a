"""The generator mgdm: measurements, the bridge, its noise-aware classifier, resume, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_support import SMALL, draw, fit_with_a_kill
from ltbench_diffusion.measurements import MEASURES, ascent, guided, uncertainty
from ltbench_diffusion.mgdm import MGDM
from ltbench_diffusion.noisy_classifier import NoisyClassifier, noisy_cross_entropy
from ltbench_diffusion.schedules import alphas_cumprod
from torch import Tensor

import ltbench
from ltbench.errors import NonFinite, UserError
from ltbench.testing import tiny_context

BASE = {"name": "ddpm", **SMALL}
CLASSIFIER = {"classifier_widths": [8, 8], "classifier_steps": 4, "classifier_batch": 8}
ABAR = float(alphas_cumprod("linear")[499])


def mgdm(folder: Path, context: Any = None, base: Any = None, **options: Any) -> Any:
    context = context or tiny_context(folder)
    spec = {"name": "mgdm", "base": {**BASE, **(base or {})}, "bridge_steps": 6, **CLASSIFIER, **options}
    return context.fit_generator(spec)


def linear(x: Tensor) -> Tensor:
    return x @ torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=x.dtype).T


X, LABEL = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor([0])


def test_measurements_of_a_linear_classifier() -> None:
    assert linear(X).softmax(1)[0].tolist() == pytest.approx([0.439203149102, 0.266390175773, 0.294406675125])
    values = {m: float(uncertainty(linear(X), LABEL, m)) for m in MEASURES}
    assert values["entropy"] == pytest.approx(1.073750976662, abs=1e-11)
    assert values["margin"] == pytest.approx(-0.144796473977, abs=1e-11)
    assert values["least-confidence"] == pytest.approx(-0.439203149102, abs=1e-11)
    gradients = {m: ascent(linear, X, LABEL, m)[0].tolist() for m in MEASURES}
    assert gradients["entropy"] == pytest.approx([-0.154100468516, 0.022463375699], abs=1e-11)
    assert gradients["classifier"] == pytest.approx([0.855203526023, 0.028016499352], abs=1e-11)
    assert gradients["margin"] == pytest.approx([-0.712643805351, -0.298463365445], abs=1e-11)
    assert gradients["least-confidence"] == pytest.approx([-0.375608081753, -0.012304934742], abs=1e-11)


def test_entropy_and_its_gradient() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.float64)
    assert float(uncertainty(logits, LABEL, "entropy")) == pytest.approx(0.621584604679, abs=1e-11)
    expected = [-0.298741583116, 0.196277330926, 0.102464252189]
    assert ascent(lambda z: z, logits, LABEL, "entropy")[0].tolist() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("entropy", [0.939607103875, -0.407813249395]), ("margin", [3.620342754596, 1.132478612520])],
)
def test_guided_noise(measure: str, expected: list[float]) -> None:
    eps = torch.tensor([[0.2, -0.3]], dtype=torch.float64)
    x0 = (X - (1 - ABAR) ** 0.5 * eps) / ABAR**0.5
    moved, noise = guided(x0, eps, ABAR, 5.0, ascent(linear, X, LABEL, measure))
    assert noise[0].tolist() == pytest.approx(expected, abs=1e-10)
    assert torch.allclose(ABAR**0.5 * moved + (1 - ABAR) ** 0.5 * noise, X)


def test_classifier_guidance_in_both_forms() -> None:
    eps, g = (torch.tensor([v], dtype=torch.float64) for v in ([0.2, -0.3], [0.4, 0.1]))
    abars = alphas_cumprod("linear")
    _, noise = guided(X, eps, ABAR, 2.0, g)
    assert noise[0].tolist() == pytest.approx([-0.567921978169, -0.491980494542], abs=1e-11)
    beta = 1 - ABAR / float(abars[498])
    variance = beta * (1 - float(abars[498])) / (1 - ABAR)
    assert (variance * 2 * g)[0].tolist() == pytest.approx([0.008025084332, 0.002006271083], abs=1e-11)
    implied = -beta / ((1 - ABAR) * (1 - beta)) ** 0.5 * (noise - eps)  # the mean is linear in the noise
    assert implied[0].tolist() == pytest.approx([0.008072659174, 0.002018164794], abs=1e-11)


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_agree_with_finite_differences_and_ignore_the_batch(measure: str) -> None:
    torch.manual_seed(0)
    net = NoisyClassifier(2, 3, [8, 8]).double().eval()
    x, labels = torch.randn(3, 2, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2])
    t = torch.full((3,), 300)

    def logits(x: Tensor) -> Tensor:
        return net(x, t[: len(x)])

    g, way = ascent(logits, x, labels, measure), torch.randn_like(x)
    up, down = (uncertainty(net(x + s * way, t).double(), labels, measure) for s in (1e-2, -1e-2))
    assert torch.allclose((g * way).flatten(1).sum(1), (up - down).detach() / 2e-2, rtol=2e-2, atol=1e-4)
    assert torch.allclose(g[:1], ascent(logits, x[:1], labels[:1], measure), atol=1e-7)


def test_a_gradient_that_is_not_finite_counts_as_zero() -> None:
    x = torch.tensor([[1.0, 2.0], [0.0, 2.0]])
    g = ascent(lambda x: torch.where(x == 0, torch.nan, x) * x, x, torch.tensor([0, 0]), "entropy")
    assert torch.isfinite(g).all() and (g[1] == 0).all() and (g[0] != 0).any()


def test_the_classifier_knows_the_noise_level_and_learns() -> None:
    torch.manual_seed(0)
    abar = alphas_cumprod("cosine")
    net = NoisyClassifier(1, 2, [8, 16])
    objective, optimizer = noisy_cross_entropy(abar), torch.optim.Adam(net.parameters(), 1e-2)
    labels = torch.arange(64) % 2
    x0 = (labels * 1.6 - 0.8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    for _ in range(60):
        optimizer.zero_grad()
        objective(net, x0, labels).backward()
        optimizer.step()
    clean, noise = net(x0, torch.zeros(64, dtype=torch.int64)), net(torch.randn(64, 1, 8, 8), torch.full((64,), 999))
    assert (clean.argmax(1) == labels).float().mean() > 0.95
    assert float(uncertainty(noise, labels, "entropy").mean()) > float(uncertainty(clean, labels, "entropy").mean())
    assert not torch.equal(net(x0[:1], torch.tensor([0])), net(x0[:1], torch.tensor([900])))


def bridge_error(generator: MGDM) -> Tensor:
    labels = torch.tensor([0, 1, 2, 0])
    torch.manual_seed(0)
    start = torch.randn(4, *generator.base.shape)
    first = generator.base.reverse(lambda i: start, labels)
    return (generator.disturbed(first, labels) - first).abs()


def test_scale_zero_returns_the_image_of_the_base(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, protocol={"image_size": 8, "stored_size": 8})
    base = {"train_steps": 60, "train_batch": 16, "lr": 5e-3, "steps": 10}
    exact = bridge_error(mgdm(tmp_path, context, base, scale=0.0, bridge_steps=250))
    assert float(exact.max()) < 0.05 and float(exact.mean()) < 0.02
    coarse = mgdm(tmp_path, context, base, scale=0.0, bridge_steps=20)
    assert float(exact.mean()) < float(bridge_error(coarse).mean())
    images, labels = draw(mgdm(tmp_path, context, base, scale=0.0, bridge_steps=250))
    plain, same = draw(context.fit_generator({**BASE, **base}))
    assert np.array_equal(labels, same)
    assert np.abs(images.astype(int) - plain.astype(int)).mean() < 2.6  # 0.02 of the range
    phases = {line.split("/")[0] for line in context.fits}
    assert phases == {"ddpm", "mgdm"} and len(list((tmp_path / "fits").iterdir())) == 2  # one fit of each


def test_scale_zero_never_asks_the_classifier_for_a_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("ltbench_diffusion.mgdm.ascent", lambda f, x, *rest: calls.append(1) or torch.zeros_like(x))
    without, _ = draw(mgdm(tmp_path, scale=0.0))
    assert not calls
    zero_gradient, _ = draw(mgdm(tmp_path, scale=5.0))
    assert calls and np.array_equal(without, zero_gradient)


def test_guidance_moves_towards_uncertainty(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    base = {"train_steps": 60, "train_batch": 16, "lr": 5e-3, "steps": 10}
    classifier = {"classifier_steps": 120, "classifier_batch": 32, "classifier_lr": 5e-3, "bridge_steps": 30}
    notes = {}
    for scale in (0.0, 5.0, 20.0):
        generator = mgdm(tmp_path, context, base, scale=scale, **classifier)
        draw(generator, (8, 8, 8))
        notes[scale] = generator.notes()
    after = [notes[scale]["entropy_after"] for scale in (0.0, 5.0, 20.0)]
    assert after[0] < after[1] < after[2]
    assert abs(after[0] - notes[0.0]["entropy_before"]) < 0.05
    towards = mgdm(tmp_path, context, base, measure="classifier", scale=5.0, **classifier)
    draw(towards, (8, 8, 8))
    assert towards.notes()["label_kept"] >= notes[20.0]["label_kept"]


@pytest.mark.parametrize("measure", ["entropy", "margin"])
def test_an_image_does_not_depend_on_the_others(tmp_path: Path, measure: str) -> None:
    options: dict[str, Any] = {"measure": measure, "scale": 3.0}
    images, labels = draw(mgdm(tmp_path, **options))
    parts, _ = draw(mgdm(tmp_path, base={"sample_batch": 2}, **options))
    assert np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    assert np.abs(images.astype(int) - parts.astype(int)).max() <= 1


def test_a_killed_classifier_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec: dict[str, Any] = {"base": BASE, "bridge_steps": 6, **CLASSIFIER}
    whole = tiny_context(tmp_path / "whole").fit_generator({"name": "mgdm", **spec})
    import diffusion_support

    monkeypatch.setattr(diffusion_support, "SMALL", {})
    taken_up = fit_with_a_kill(tmp_path / "killed", "mgdm", monkeypatch, after=6, **spec)  # 4 steps are the base's
    for a, b in zip(whole.classifier.parameters(), taken_up.classifier.parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.array_equal(draw(whole)[0], draw(taken_up)[0])


@pytest.mark.parametrize(
    "other",
    [{"classifier_widths": [8]}, {"classifier_dropout": 0.5}, {"classifier_batch": 4}, {"classifier_lr": 1e-4}],
)
def test_another_classifier_is_another_fit(tmp_path: Path, other: dict[str, Any]) -> None:
    first, second = tiny_context(tmp_path), tiny_context(tmp_path)
    mgdm(tmp_path, first)
    mgdm(tmp_path, second, **other)
    assert first.fits["ddpm/unet"] == second.fits["ddpm/unet"]
    assert first.fits["mgdm/classifier"] != second.fits["mgdm/classifier"]
    sampling = tiny_context(tmp_path)
    mgdm(tmp_path, sampling, measure="margin", scale=1.0, bridge_steps=5)
    assert sampling.fits == first.fits


def test_no_images_at_all(tmp_path: Path) -> None:
    images, labels = draw(mgdm(tmp_path), (0, 0, 0))
    assert images.shape == (0, 16, 16, 3) and len(labels) == 0


def test_a_classifier_that_diverges_names_its_own_rate(tmp_path: Path) -> None:
    words = r"the noise-aware classifier's loss is nan at step 50; lower the rate: --set generator\.classifier_lr=3"
    with pytest.raises(NonFinite, match=words):
        mgdm(tmp_path, classifier_lr=1e20, classifier_steps=60)


def test_a_base_without_ddim_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mgdm needs a base with DDIM, such as ddpm or ldm, got .*real-copies"):
        tiny_context(tmp_path).fit_generator({"name": "mgdm", "base": "real-copies"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("measure", "variance"),
        ("scale", -1),
        ("scale", float("nan")),
        ("bridge_steps", 1),
        ("classifier_widths", []),
        ("classifier_steps", 0),
        ("classifier_lr", 0),
        ("classifier_dropout", 1),
    ],
)
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"generator\.{option} must be"):
        ltbench.build("generator", "mgdm", **{option: value})
