"""DiffMIC: networks, training step, inference and what it refuses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_diffmic import METHODS
from ltbench_diffmic.chain import Plan
from ltbench_diffmic.denoiser import Denoiser, Encoder
from ltbench_diffmic.diffmic import DiffMIC
from ltbench_diffmic.guide import DualGuide, corners, log_priors, priors
from ltbench_diffmic.guide import Logits as GuideLogits
from ltbench_diffmic.trajectories import draw
from ltbench_diffmic.trunk import build_trunk
from torch import Tensor, nn

import ltbench
from ltbench.describe import describe
from ltbench.errors import LtbenchError, UserError
from ltbench.interfaces import Batch, Stage
from ltbench.metrics import classification
from ltbench.models.nets import build_backbone
from ltbench.models.regions import GatedAttention
from ltbench.plugins import plugins
from ltbench.recipe.merge import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options, tiny_run

SMALL: dict[str, Any] = {"image_size": 8, "stored_size": 8}
REPEATS, STEPS = 8, 150  # of each image in a batch, with other times and noise; of the denoiser
OVERFIT: dict[str, Any] = {
    "train_steps": 1000,
    "steps": 20,
    "samples": 10,
    "width": 64,
    "ema": 0.9,
    "mmd": 0.0,
    "lr": 1e-2,
}


def tiny(folder: Path, **options: Any) -> Any:
    return tiny_run(folder, classifier=tiny_options("classifier", "diffmic", **options))


def fresh(spec: Any, context: Any) -> Any:
    """A classifier after its setup, not trained."""
    torch.manual_seed(0)
    classifier = ltbench.build("classifier", spec)
    classifier.setup(context)
    return classifier


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


@pytest.mark.parametrize("prior", ["none", "fused"])
def test_the_chain_classifies_and_so_does_its_slow_twin(tmp_path: Path, prior: str) -> None:
    """24 images learned by heart by the denoiser; the guide, where there is one, is not trained."""
    spec = tiny_options("classifier", "diffmic", prior=prior, **OVERFIT)
    context = tiny_context(tmp_path, protocol=SMALL, classifier=spec)
    classifier, train = fresh(spec, context), context.train
    classifier.start_stage(Stage("joint", STEPS), context)
    x = torch.tensor(train.images).permute(0, 3, 1, 2).float().repeat(REPEATS, 1, 1, 1) / 255
    labels = torch.tensor(train.labels).repeat(REPEATS)
    batch = Batch(x, labels, torch.zeros(len(x), dtype=torch.bool), torch.arange(len(x)), (x,), 0, 0)
    for step in range(STEPS):
        classifier._denoise(classifier.prepare(x), batch, step)
    context.at("predict:val", 0)
    slow = classifier.predict(train.images, context).argmax(1)
    classifier.slow = None
    fast = classifier.predict(train.images, context).argmax(1)
    assert (slow == train.labels).mean() >= 0.95 and (fast == train.labels).mean() >= 0.95
    assert (slow == fast).mean() >= 0.95


def test_a_slow_twin_takes_the_statistics_of_its_network(tmp_path: Path) -> None:
    run, _ = tiny(tmp_path, ema=0.9, evaluate_every=99, prior="none", mmd=0.0)
    fast = dict(run.classifier.nets.named_buffers())
    assert any(name.endswith("running_var") for name in fast)
    assert all(torch.equal(value, fast[name]) for name, value in run.classifier.slow.named_buffers())


class Stop(BaseException):
    """Something that no handler may swallow, like a kill."""


def test_a_killed_cell_with_a_slow_denoiser_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"ema": 0.9, "epoch_factor": 1, "evaluate_every": 1}
    whole, expected = tiny(tmp_path / "whole", **options)
    train = DiffMIC.train_epoch

    def killed(self: Any, batches: Any, context: Any) -> Any:
        if context.stage == "joint" and context.epoch == 1:
            next(iter(batches))
            raise Stop
        return train(self, batches, context)

    with monkeypatch.context() as patch:
        patch.setattr(DiffMIC, "train_epoch", killed)
        with pytest.raises(Stop):
            tiny(tmp_path / "killed", **options)
    resumed, found = tiny(tmp_path / "killed", **options)
    assert resumed.history == whole.history and np.array_equal(found, expected)
    slow = whole.classifier.slow.state_dict()
    assert all(torch.equal(value, slow[name]) for name, value in resumed.classifier.slow.state_dict().items())


@pytest.mark.parametrize("fusion", ["mean_logit", "mean_prob"])
def test_a_sure_guide_has_a_finite_gradient(fusion: str) -> None:
    z = torch.tensor([[200.0, 0.0]], requires_grad=True)
    found = log_priors(GuideLogits(z, z, z), fusion)
    found.fused[0, 1].backward()
    assert z.grad is not None and z.grad[0].tolist() == pytest.approx([-1, 1])
    assert float(found.fused[0, 1].detach()) == pytest.approx(-200)


@pytest.mark.parametrize("prior", ["fused", "global", "local"])
def test_a_guide_alone_answers_with_the_prior_that_is_asked_for(tmp_path: Path, prior: str) -> None:
    spec = tiny_options("classifier", "diffmic", diffusion=False, prior=prior, prior_fusion="mean_prob")
    context = tiny_context(tmp_path, protocol=SMALL, classifier=spec)
    classifier, images = fresh(spec, context), context.val.images
    means, states = classifier.denoised(images, context)
    wanted = {"fused": means.fused, "global": means.globally, "local": means.locally}[prior]
    assert states is None and not torch.allclose(means.globally, means.locally)
    np.testing.assert_array_equal(classifier.predict(images, context), wanted)
    with torch.no_grad():
        logits = classifier.logits(torch.tensor(images).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(logits.exp(), wanted, atol=1e-6)


def test_a_guide_alone_needs_a_prior() -> None:
    with pytest.raises(UserError, match=r"diffusion=false asks the guide alone.*--set classifier\.prior=fused"):
        ltbench.build("classifier", "diffmic", diffusion=False, prior="none")


@pytest.mark.parametrize("option", ["encoder", "local"])
def test_an_unknown_backbone_names_its_own_option(tmp_path: Path, option: str) -> None:
    spec = tiny_options("classifier", "diffmic", **{option: "nonsense"})
    with pytest.raises(UserError, match=rf"unknown backbone 'nonsense'.*--set classifier\.{option}=NAME"):
        fresh(spec, tiny_context(tmp_path, protocol=SMALL, classifier=spec))


def test_an_unknown_backbone_of_the_protocol_names_the_protocol(tmp_path: Path) -> None:
    spec = tiny_options("classifier", "diffmic", prior="none")
    with pytest.raises(UserError, match=r"unknown backbone 'nonsense'.*--set protocol\.backbone=NAME"):
        fresh(spec, tiny_context(tmp_path, protocol={"backbone": "nonsense"}, classifier=spec))


@pytest.mark.parametrize(
    ("protocol", "dataset", "steps"),
    [
        ("diffmic2023", "ham10000", 250),
        ("diffmic2023", "busi", 100),
        ("diffmic2023", "aptos", 60),
        ("quick", "busi", 20),
    ],
)
def test_steps_of_the_paper_where_the_tier_has_none(tmp_path: Path, protocol: str, dataset: str, steps: int) -> None:
    given = resolve("diffmic", dataset, protocol)[0].recipe["classifier"]["steps"]
    spec = tiny_options("classifier", "diffmic", steps=given, prior="none", train_steps=1000)
    context = tiny_context(tmp_path, protocol=SMALL, classifier=spec)
    context.recipe = {**context.recipe, "dataset": {"name": dataset}}
    classifier = fresh(spec, context)
    classifier.joint = True
    context.at("predict:val", 0)
    assert len(classifier.denoised(context.val.images, context)[1]) == steps + 1


def test_accuracy_pools_images_and_not_batches() -> None:
    """60 of 64 and 18 of 36 are right: the mean over batches, as in the release, would be 71.875 %."""
    right = np.repeat([True, False, True, False], [60, 4, 18, 18])
    probs = np.stack([right, ~right], 1).astype(np.float32)
    assert classification(np.zeros(100, dtype=np.int64), probs)["accuracy"] == pytest.approx(0.78)
    assert np.mean([right[:64].mean(), right[64:].mean()]) == pytest.approx(0.71875)


def test_a_map_needs_two_images_and_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states, path = np.random.default_rng(0).normal(size=(2, 2, 3)), tmp_path / "map.png"
    with pytest.raises(UserError, match="needs at least 2 validation images, this cell has 1"):
        draw(states[:, :1], np.array([0]), ("a", "b", "c"), path)
    draw(states, np.array([0, 1]), ("a", "b", "c"), path)
    before = path.read_bytes()
    assert before[:4] == b"\x89PNG"

    def full(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises((OSError, LtbenchError)):
        draw(2 * states, np.array([0, 1]), ("a", "b", "c"), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


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


@pytest.mark.parametrize(("backbone", "size"), [("small_resnet", 8), ("resnet10t", 4)])
def test_the_smallest_size_that_is_named_is_the_smallest(tmp_path: Path, backbone: str, size: int) -> None:
    spec = tiny_options("classifier", "diffmic")

    def built(size: int) -> Any:
        protocol = {"backbone": backbone, "image_size": size, "stored_size": size}
        return fresh(spec, tiny_context(tmp_path, protocol=protocol, classifier=spec))

    with pytest.raises(UserError) as refused:
        built(size)
    found = re.search(r"--set protocol\.image_size=(\d+)", str(refused.value))
    assert found is not None
    named = int(found[1])
    with pytest.raises(UserError, match=rf"image_size={named}\)"):
        built(named - 1)
    guide = built(named).guide
    assert guide(torch.rand(2, 3, named, named)).locally.shape == (2, 3)


def test_no_size_is_named_where_none_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltbench_diffmic.networks.LARGEST", 20)
    spec = tiny_options("classifier", "diffmic", crop_share=1.0)
    with pytest.raises(UserError, match=r"classifier\.rois=6; use --set classifier\.rois=1"):
        fresh(spec, tiny_context(tmp_path, classifier=spec))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("encoder", 5),
        ("local", None),
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


def test_weights_with_and_without_a_slow_denoiser_are_refused_of_each_other(tmp_path: Path) -> None:
    made = []
    for name, ema in (("plain", 0.0), ("slow", 0.9)):
        spec = tiny_options("classifier", "diffmic", prior="none", mmd=0.0, ema=ema)
        made.append(fresh(spec, tiny_context(tmp_path / name, protocol=SMALL, classifier=spec)))
    plain, slow = made
    with pytest.raises(UserError, match=r"trained with a slow denoiser, this cell has classifier\.ema = 0"):
        plain.load_state_dict(slow.state_dict())
    with pytest.raises(UserError, match=r"trained without a slow denoiser, this cell has classifier\.ema > 0"):
        slow.load_state_dict(plain.state_dict())
    state = slow.state_dict()
    name = "noise.last.weight"
    with pytest.raises(UserError, match="do not fit these networks"):
        slow.load_state_dict({**state, "slow": {**state["slow"], name: state["slow"][name][:1]}})
    slow.load_state_dict(state)


@pytest.mark.parametrize("method", [id for id, *_ in METHODS])
def test_every_method_runs(tmp_path: Path, method: str) -> None:
    options = {"width": 16, "steps": 3, "warmup_epochs": 1, "epoch_factor": 1}
    own = {} if method == "diffmic-basic" else {f"classifier.{name}": value for name, value in options.items()}
    overrides = {"epochs": 1, "protocol.max_train": 60, **own}
    result = ltbench.run(method, "digits-lt", "quick", overrides=overrides, out=tmp_path, device="cpu")
    stages = [line["stage"] for line in result.history]
    if method == "diffmic-basic":
        assert stages == ["train"]
    else:
        assert stages == (["joint"] if method == "diffmic-c1" else ["warm-up", "joint"])
        assert ("guide_loss" in result.history[-1]) == (method != "dcg-only")
    assert all(np.isfinite(line["loss"]) for line in result.history)


def test_every_option_is_documented() -> None:
    text = describe(plugins().registry.get("classifier", "diffmic"))
    missing = [field.name for field in dataclasses.fields(DiffMIC) if f"  {field.name} = " not in text]
    assert not missing and "dual" in text.lower() and "map_stride: px of a cell" in text
