"""DiffMIC: training step, inference and every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffmic_support import SMALL, fresh, tiny
from ltbench_diffmic import METHODS
from ltbench_diffmic.chain import Plan
from ltbench_diffmic.diffmic import DiffMIC
from ltbench_diffmic.guide import Logits as GuideLogits
from ltbench_diffmic.guide import log_priors
from ltbench_diffmic.trajectories import draw
from torch import Tensor

import ltbench
from ltbench.errors import LtbenchError, UserError
from ltbench.interfaces import Batch, Stage
from ltbench.metrics import classification
from ltbench.recipe.merge import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options, tiny_run

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


@pytest.mark.parametrize(("table", "steps"), [(10, 7), (1000, 60)])
def test_inference_sees_each_image_once_and_equals_the_encoder_in_the_loop(
    tmp_path: Path, table: int, steps: int
) -> None:
    run, _ = tiny(tmp_path, train_steps=table, steps=steps, samples=2)
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
    plan = Plan.of("respaced", steps, classifier.table)
    noise = torch.randn(len(images), steps, 2, 3, generator=run.context.torch_rng("chain"))
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


def test_chains_of_an_image_are_averaged_or_vote(tmp_path: Path) -> None:
    run, _ = tiny(tmp_path, decision="mean", samples=2)
    classifier = run.classifier
    means = GuideLogits(*(torch.zeros(1, 3),) * 3)
    y = torch.tensor([[[2.0, 0, 0], [-1.5, 1.5, 0]]])  # (n, S, C): the first chain alone says 0, their mean 1
    classifier.denoised = lambda images, context: (means, y[None])
    np.testing.assert_allclose(classifier.predict(None, run.context), [[0.25, 0.75, 0]], atol=1e-6)
    y = torch.tensor([[[0.9, 0, 0], [0, 1.1, 0], [0.2, 0.8, 0]]])
    classifier.decision = "vote"
    np.testing.assert_allclose(classifier.predict(None, run.context), [[1 / 3, 2 / 3, 0]], atol=1e-6)


def test_one_step_is_the_guess_from_the_last_index(tmp_path: Path) -> None:
    run, probs = tiny(tmp_path, steps=1)
    _, states = run.classifier.denoised(run.context.val.images, run.context)
    assert len(states) == 2 and np.isfinite(probs).all()


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
