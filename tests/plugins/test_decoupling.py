"""cRT, LWS, tau-norm and nearest class mean: vectors, what is frozen, what is selected on which part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ltbench_decoupling.lws import ClassScale
from ltbench_decoupling.ncm import class_means, train_means
from ltbench_decoupling.stages import SECOND
from ltbench_decoupling.tau_norm import tau_normalised

import ltbench
from ltbench.engine.checkpoint import copy_state
from ltbench.engine.run import Run
from ltbench.errors import UserError
from ltbench.testing import tiny_context, tiny_run

WEIGHT = torch.tensor([[3, 4], [0, 2], [0.6, 0.8]], dtype=torch.float64)
RESNET = {"backbone": "small_resnet", "epochs": 3}


@pytest.mark.parametrize(
    ("tau", "weight", "logits"),
    [
        (0.0, [[3, 4], [0, 2], [0.6, 0.8]], [7, 2, 1.4]),
        (0.5, [[1.34164079, 1.78885438], [0, 1.41421356], [0.6, 0.8]], [3.13049517, 1.41421356, 1.4]),
        (1.0, [[0.6, 0.8], [0, 1], [0.6, 0.8]], [1.4, 1.0, 1.4]),
    ],
)
def test_tau_vectors(tau, weight, logits):
    found = tau_normalised(WEIGHT, tau)
    assert np.allclose(found, weight, atol=1e-8)
    assert np.allclose(found @ torch.ones(2, dtype=torch.float64), logits, atol=1e-8)


def test_a_zero_class_vector_stays_zero():
    assert not tau_normalised(torch.zeros(2, 3), 2.0).any()


def test_the_scale_multiplies_the_bias_too():
    scale, bias, x = ClassScale(3).double(), torch.tensor([1.0, -1.0, 2.0]).double(), torch.ones(1, 2).double()
    with torch.no_grad():
        scale.scale.copy_(torch.tensor([2.0, 3.0, 0.5]))
    assert np.allclose(scale(x @ WEIGHT.T + bias).detach(), [[16, 3, 1.7]])


def test_class_means_of_an_empty_class_are_zero():
    means = class_means(np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([2, 2, 0]), 3)
    assert means.tolist() == [[5, 6], [0, 0], [2, 3]]


def watched(folder, id, listener=lambda epoch, line: None, protocol=RESNET, **options):
    """A finished run, and the network's state when stage one had ended (its best epoch loaded)."""
    run = Run(tiny_context(folder, classifier={"name": id, **options}, protocol=protocol), "tiny", listener)
    kept = {}
    end = run.classifier.end_stage

    def keep(stage, context):
        if stage.name != SECOND:
            kept.update(copy_state(run.classifier.net.state_dict()))
        end(stage, context)

    run.classifier.end_stage = keep
    run.train()
    return run, kept


CHANGED = {
    "crt": {"1.weight", "1.bias"},
    "lws": {"2.scale"},
    "tau-norm": {"1.weight", "1.bias"},
    "ncm": {"1.weight"},
}


@pytest.mark.parametrize("id", CHANGED)
def test_stage_two_changes_the_head_alone_and_batch_norm_does_not_drift(tmp_path, id):
    run, before = watched(tmp_path, id)
    after = run.classifier.net.state_dict()
    assert any(key.endswith("running_mean") for key in before)
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed <= CHANGED[id]
    assert id == "tau-norm" or changed == CHANGED[id]  # tau may be 0
    assert not any(p.requires_grad for p in run.classifier.net[0].parameters())
    run.classifier.net.train()
    assert run.classifier.net[1].training and not any(m.training for m in run.classifier.net[0].modules())


@pytest.mark.parametrize("id", CHANGED)
def test_learns_in_stage_one_and_logits_carry_gradients(tmp_path, id):
    run, probs = tiny_run(tmp_path, classifier=id, protocol={"epochs": 6})
    losses = [line["loss"] for line in run.history if line["stage"] == "representation"]
    assert losses[-1] < losses[0]
    assert (probs.argmax(1) == run.context.val.labels).mean() > 0.5
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    run.classifier.logits(x)[:, 0].sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_the_second_stage_is_a_share_of_the_epochs():
    crt, lws = (ltbench.build("classifier", id) for id in ("crt", "lws"))
    assert [stage.epochs for stage in crt.stages(90)] == [90, 10]
    assert [stage.epochs for stage in lws.stages(90)] == [90, 5]
    assert [stage.epochs for stage in crt.stages(2)] == [2, 1]
    assert crt.stages(9)[1].sampler == "class-balanced"


def test_crt_draws_a_new_head_at_its_own_rate(tmp_path):
    run, before = watched(tmp_path, "crt", lr_scale=1e-9)
    after = run.classifier.net.state_dict()
    assert (after["1.weight"] - before["1.weight"]).abs().max() > 1e-2
    assert [group["lr_scale"] for group in run.classifier.optimizer.param_groups] == [1e-9]


def test_tau_zero_is_the_model_without_bias(tmp_path):
    run, before = watched(tmp_path, "tau-norm", largest=0.0)
    assert run.history[-1]["tau"] == 0.0
    assert torch.equal(run.classifier.net[1].weight, before["1.weight"])
    assert not run.classifier.net[1].bias.any()


def test_tau_is_the_first_best_on_validation(tmp_path):
    run, before = watched(tmp_path, "tau-norm", protocol={"epochs": 3, "select": "accuracy"})
    classifier, val = run.classifier, run.context.val
    features = torch.from_numpy(classifier.features(val.images, run.context))
    right = []
    for k in range(21):
        logits = features @ tau_normalised(before["1.weight"], k / 10).T
        right.append((logits.argmax(1).numpy() == val.labels).mean())
    best = int(np.argmax(right))
    assert run.history[-1]["tau"] == pytest.approx(best / 10)
    assert run.selected["score"] == pytest.approx(right[best])
    assert torch.allclose(classifier.net[1].weight, tau_normalised(before["1.weight"], best / 10))


def test_tau_looks_at_no_training_image(tmp_path):
    run, _ = watched(tmp_path, "tau-norm")
    seen = []
    run.classifier.features = lambda images, context: seen.append(images) or np.ones((len(images), 96), np.float32)
    run.classifier.compute(run.context)
    assert len(seen) == 1 and seen[0] is run.context.val.images


def test_ncm_is_the_cosine_to_the_class_means(tmp_path):
    run, probs = tiny_run(tmp_path, classifier={"name": "ncm", "scale": 7.0})
    classifier, context = run.classifier, run.context
    assert torch.allclose(classifier.net[1].weight, train_means(classifier, context), atol=1e-6)
    features = torch.from_numpy(classifier.features(context.val.images, context))
    cosines = torch.cosine_similarity(features[:, None], classifier.net[1].weight[None], dim=2)
    assert np.allclose(probs, torch.softmax(7 * cosines, 1).detach(), atol=1e-5)


def test_means_come_from_the_evaluation_crop(tmp_path):
    run, _ = tiny_run(tmp_path, classifier="ncm")
    padded = np.pad(run.context.train.images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    wanted = train_means(run.classifier, run.context)
    run.context.train = replace(run.context.train, images=padded)
    assert torch.allclose(train_means(run.classifier, run.context), wanted)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("crt", {"share": 0}, "share"),
        ("lws", {"lr_scale": -1}, "lr_scale"),
        ("tau-norm", {"step": 0}, "step"),
        ("ncm", {"scale": 0}, "scale"),
    ],
)
def test_bad_options(id, options, message):
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", id, **options)
