"""DiffMIC: networks, training step, inference and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_diffmic.chain import Plan
from ltbench_diffmic.denoiser import Denoiser, Encoder
from ltbench_diffmic.diffmic import DiffMIC
from ltbench_diffmic.guide import DualGuide, corners, priors
from ltbench_diffmic.guide import Logits as GuideLogits
from ltbench_diffmic.trunk import build_trunk
from torch import Tensor, nn

import ltbench
from ltbench.describe import describe
from ltbench.errors import UserError
from ltbench.interfaces import Batch
from ltbench.models.nets import build_backbone
from ltbench.models.regions import GatedAttention
from ltbench.plugins import plugins
from ltbench.testing.tiny import tiny_options, tiny_run


def tiny(folder: Path, **options: Any) -> Any:
    return tiny_run(folder, classifier=tiny_options("classifier", "diffmic", **options))


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(("classes", "denoiser", "guide"), [(4, 108417604, 47556864), (7, 108472903, 47569152)])
def test_parameters_are_those_of_the_release(classes: int, denoiser: int, guide: int) -> None:
    with torch.device("meta"):
        encoder = Encoder(build_backbone("resnet18", 3, 224, "none", None), 512, 6144)
        noise = Denoiser(classes, 6144, 1000, guided=True)
        trunk = nn.Module()
        trunk.body, trunk.num_features = build_backbone("resnet50", 3, 224, "none", None), 2048  # type: ignore[assignment]
        local = build_backbone("resnet50", 3, 32, "none", None)
        dual = DualGuide(trunk, local, 2048, classes, 32, 6, "first")  # type: ignore[arg-type]
    assert parameters(encoder, noise) == denoiser
    assert parameters(dual) == guide


def test_fusions_of_the_prior() -> None:
    g, s = torch.tensor([[2.0, 0, -1]]), torch.tensor([[-1.0, 3, 0]])
    logits = GuideLogits((g + s) / 2, g, s)
    expected = {"mean_logit": (0.244728, 0.665241, 0.090031), "mean_prob": (0.430471, 0.525217, 0.044311)}
    for fusion, values in expected.items():
        np.testing.assert_allclose(priors(logits, fusion).fused[0], values, atol=6e-7)


def test_places_of_the_crops() -> None:
    maps = torch.tensor([[[1.0, 0], [2, 4]], [[4, 1], [0, 0]]])[None]
    assert corners(maps, 8, 4, 3)[0].tolist() == [[0, 0], [4, 4], [4, 0]]
    flat = corners(torch.ones(1, 2, 7, 7), 224, 32, 6)  # a flat map says nothing: the lowest index wins every tie
    assert flat[0].tolist() == [[0, 0]] * 6


def test_paper_sizes_give_distinct_tiles_of_the_grid() -> None:
    found = corners(torch.randn(8, 5, 7, 7, generator=torch.Generator().manual_seed(0)), 224, 32, 6)
    assert (found % 32 == 0).all()
    assert all(len({tuple(corner) for corner in image}) == 6 for image in found.tolist())


def test_gated_attention() -> None:
    attention = GatedAttention(2, 2)
    with torch.no_grad():
        for layer in (attention.gate, attention.value):
            layer.weight.copy_(torch.eye(2))
        attention.score.weight.copy_(torch.tensor([[1.0, 0]]))
    _, weights = attention(torch.eye(2)[None])
    np.testing.assert_allclose(weights[0].detach(), (0.6357, 0.3643), atol=5e-5)


@pytest.mark.parametrize(
    ("name", "size", "stride", "cells"),
    [("resnet10t", 64, 8, 8), ("resnet10t", 32, 8, 4), ("small_cnn", 8, 8, 4), ("resnet18", 224, 32, 7)],
)
def test_cells_of_the_saliency_map(name: str, size: int, stride: int, cells: int) -> None:
    trunk = build_trunk(name, 3, size, stride, "none", None).eval()
    with torch.no_grad():
        assert trunk(torch.zeros(1, 3, size, size)).shape == (1, trunk.num_features, cells, cells)


def test_a_cut_trunk_is_the_beginning_of_the_whole_network() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("resnet10t", 3, 64, 8, "none", None).eval()
    torch.manual_seed(0)
    whole: Any = build_backbone("resnet10t", 3, 64, "none", None).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        h = whole.maxpool(whole.act1(whole.bn1(whole.conv1(x))))
        torch.testing.assert_close(trunk(x), whole.layer2(whole.layer1(h)))


@pytest.mark.parametrize("guided", [True, False])
def test_folded_tables_give_the_noise_of_the_network(guided: bool) -> None:
    torch.manual_seed(0)
    net = Denoiser(3, 16, 20, guided).double()
    for _ in range(5):  # statistics that differ from 0 and 1
        net(
            torch.randn(9, 16).double(),
            torch.randn(9, 3).double(),
            torch.rand(9, 3).double(),
            torch.randint(0, 20, (9,)),
        )
    net.eval()
    e, y, prior = torch.randn(4, 16).double(), torch.randn(4, 3).double(), torch.rand(4, 3).double()
    indices = torch.tensor([19, 7, 0])
    tables, constant = net.tables(indices), net.constant(prior)
    for i, t in enumerate(indices.tolist()):
        direct = net(e, y, prior, torch.full((4,), t))
        torch.testing.assert_close(net.at(tables, i, e, constant, y), direct, atol=1e-12, rtol=1e-12)


def test_inference_sees_each_image_once_and_equals_the_encoder_in_the_loop(tmp_path: Path) -> None:
    run, _ = tiny(tmp_path, steps=7, samples=2)
    classifier, images = run.classifier, run.context.val.images
    classifier.nets.double()
    classifier.mean, classifier.std = classifier.mean.double(), classifier.std.double()
    calls = {"encoder": 0, "guide": 0}
    for name in calls:
        classifier.nets[name].register_forward_hook(lambda m, i, o, name=name: calls.update({name: calls[name] + 1}))
    classifier.prepare = lambda x: DiffMIC.prepare(classifier, x.double())
    run.context.at("predict:val", 0)
    means, states = classifier.denoised(images, run.context)
    assert calls == {"encoder": 1, "guide": 1}
    x = classifier.prepare(torch.tensor(images).permute(0, 3, 1, 2).float() / 255)
    plan = Plan.of("respaced", 7, classifier.table)
    noise = torch.randn(len(images), 7, 2, 3, generator=run.context.torch_rng("chain"))
    naive = []
    for sample in range(2):

        def slow(i: int, y: Tensor) -> Tensor:
            e = classifier.nets["encoder"](x)
            t = torch.full((len(x),), int(plan.indices[i]))
            return classifier.noise_net(e, y, means.fused, t)  # type: ignore[no-any-return]

        drawn = noise[:, :, sample].transpose(0, 1).double()
        naive.append(plan.run(slow, means.fused, drawn)[-1])
    assert states.dtype == torch.float64
    torch.testing.assert_close(states[-1], torch.stack(naive, 1), atol=1e-6, rtol=1e-6)


def test_predictions_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    run, probs = tiny(tmp_path, samples=3)
    run.classifier.eval_batch = 5
    np.testing.assert_allclose(run.evaluator.predict(run.context.val.images, "val"), probs, atol=1e-5)


def test_the_guide_learns_nothing_from_the_denoiser(tmp_path: Path) -> None:
    full, _ = tiny(tmp_path / "a", evaluate_every=99)  # the last epoch of both is kept
    alone, _ = tiny(tmp_path / "b", evaluate_every=99, diffusion=False)
    other = dict(alone.classifier.guide.named_parameters())
    for name, weight in full.classifier.guide.named_parameters():
        assert torch.equal(weight, other[name]), name


def test_loss_of_a_step_is_noise_error_and_two_discrepancies(tmp_path: Path) -> None:
    run, _ = tiny(tmp_path)
    classifier = run.classifier
    x = torch.rand(6, 3, 16, 16)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    batch = Batch(x, labels, torch.zeros(6, dtype=torch.bool), torch.arange(6), (x,), 0, 0)
    guide, nets = classifier.guide, classifier.nets
    before = {name: p.clone() for name, p in guide.named_parameters()}
    state = {name: value.clone() for name, value in nets.state_dict().items()}
    torch.manual_seed(3)
    found = float(classifier._denoise(classifier.prepare(x), batch, 1.0))
    assert all(torch.equal(p, before[name]) for name, p in guide.named_parameters())
    nets.load_state_dict(state)
    torch.manual_seed(3)
    times = torch.randint(0, classifier.train_steps, (4,))
    t = torch.cat([times, classifier.train_steps - 1 - times])[:6]
    noise = torch.randn(6, 3)
    guide.eval()
    nets["encoder"].train()
    nets["noise"].train()
    with torch.no_grad():
        z = guide(classifier.prepare(x))
        e = nets["encoder"](classifier.prepare(x))
        s = classifier.alpha_bar[t].sqrt()[:, None]
        sigma = (1 - classifier.alpha_bar[t]).sqrt()[:, None]
        guesses = []
        for prior in (z.fused.softmax(1), z.globally.softmax(1), z.locally.softmax(1)):
            y = s * torch.eye(3)[labels] + sigma * noise + (1 - s) * prior
            guesses.append(nets["noise"](e, y, prior, t))

        def kernel(a: Tensor, b: Tensor) -> float:
            return float(np.mean([[np.exp(-float(((u - v) ** 2).sum()) / 9) for v in b] for u in a]))

        expected = float(((guesses[0] - noise) ** 2).mean())
        for guess in guesses[1:]:
            expected += 0.5 * (kernel(noise, noise) + kernel(guess, guess) - 2 * kernel(noise, guess))
    assert found == pytest.approx(expected, abs=1e-5)


def test_votes_follow_the_distance_to_one(tmp_path: Path) -> None:
    """y0 = (1.6, 0.9, 0.2): the arg max is class 0, the vote class 1, for it lies nearer to one."""
    run, _ = tiny(tmp_path, decision="vote")
    classifier = run.classifier
    y = torch.tensor([[[1.6, 0.9, 0.2]]])
    means = GuideLogits(*(torch.zeros(1, 3),) * 3)
    classifier.denoised = lambda images, context: (means, y[None])
    assert classifier.predict(None, run.context).argmax() == 1
    classifier.decision = "mean"
    assert classifier.predict(None, run.context).argmax() == 0


def test_guide_and_denoiser_learn_what_they_are_shown(tmp_path: Path) -> None:
    """The tiny data are separable: the guide learns them, and the noise of the chain becomes predictable."""
    spec = tiny_options("classifier", "diffmic", train_steps=1000, width=64, epoch_factor=40, lr=5e-3)
    run, _ = tiny_run(tmp_path, classifier=spec)
    means, _ = run.classifier.denoised(run.context.val.images, run.context)
    assert (means.fused.argmax(1).numpy() == run.context.val.labels).mean() > 0.8
    losses = [line["loss"] for line in run.history if line["stage"] == "joint"]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_slow_denoiser_predicts(tmp_path: Path) -> None:
    _, plain = tiny(tmp_path / "a")
    run, slow = tiny(tmp_path / "b", ema=0.9)
    assert not np.array_equal(plain, slow)
    weights = dict(run.classifier.nets["noise"].named_parameters())
    assert any(not torch.equal(p, weights[n]) for n, p in run.classifier.slow["noise"].named_parameters())


@pytest.mark.parametrize("sampler", ["ddim", "truncated"])
def test_other_samplers_run(tmp_path: Path, sampler: str) -> None:
    _, probs = tiny(tmp_path, sampler=sampler)
    assert np.isfinite(probs).all()


def test_a_map_without_room_names_the_smallest_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"map of 4 x 4 cells for images of 16 px, room for 9.*rois=10.*20 px"):
        tiny(tmp_path, rois=10)
    with pytest.raises(UserError, match=r"map of 2 x 2 cells.*room for 4 crops.*smallest size that works"):
        tiny_run(
            tmp_path / "b",
            classifier=tiny_options("classifier", "diffmic", crop=2),
            protocol={"image_size": 4, "stored_size": 4, "backbone": "resnet10t"},
        )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("train_steps", 1),
        ("prior", "both"),
        ("sampler", "heun"),
        ("mmd", -0.1),
        ("samples", 0),
        ("decision", "max"),
        ("crop_share", 0.0),
        ("ema", 1.0),
        ("roi_channels", "red"),
        ("guide_lr", 0.0),
        ("warmup_epochs", -1),
    ],
)
def test_options_out_of_range(option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"classifier\.{option} must"):
        ltbench.build("classifier", "diffmic", **{option: value})


def test_weights_of_another_table_are_refused(tmp_path: Path) -> None:
    run, _ = tiny(tmp_path)
    state = {**run.classifier.state_dict(), "train_steps": 999}
    with pytest.raises(UserError, match=r"trained with classifier\.train_steps=999, this cell has 10"):
        run.classifier.load_state_dict(state)


def test_every_option_is_documented() -> None:
    text = describe(plugins().registry.get("classifier", "diffmic"))
    missing = [field.name for field in dataclasses.fields(DiffMIC) if f"  {field.name} = " not in text]
    assert not missing and "dual" in text.lower() and "map_stride: px of a cell" in text
