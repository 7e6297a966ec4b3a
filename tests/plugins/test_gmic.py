"""GMIC: top means; both heads train; small and large images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ltbench_longtail.gmic import top_mean

import ltbench
from ltbench.errors import UserError
from ltbench.testing import tiny_context, tiny_run


def test_top_mean():
    values = torch.tensor([[0.1, 0.9], [0.3, 0.6]], dtype=torch.float64)[None, None]
    assert top_mean(values, 0.5).item() == pytest.approx(0.75)
    assert top_mean(values, 1.0).item() == pytest.approx(values.mean())
    assert top_mean(values, 0.01).item() == 0.9  # at least one


def ready(folder, size=16, backbone="small_resnet", **options):
    context = tiny_context(
        folder,
        classifier={"name": "gmic", **options},
        protocol={"image_size": size, "stored_size": size, "backbone": backbone},
    )
    classifier = context.component("classifier")
    classifier.setup(context)
    return classifier


@pytest.mark.parametrize(
    ("size", "backbone", "crop"), [(8, "small_cnn", 4), (28, "resnet10t", 8), (64, "resnet10t", 9)]
)
def test_crops_scale_with_the_image(tmp_path, size, backbone, crop):
    net = ready(tmp_path, size, backbone).net
    assert net.crop == crop
    assert net(torch.rand(2, 3, size, size)).shape == (2, 3)


def test_the_size_of_the_paper_has_crops_of_32(tmp_path):
    net = ready(tmp_path, 224, "resnet18").net
    assert (net.crop, net.count, net.locally.num_features) == (32, 6, 512)
    saliency = torch.zeros(1, 3, 7, 7)
    saliency[0, 0, 2, 5] = 1
    assert net._corners(saliency, 224)[0, 0].tolist() == [64, 160]  # one cell is one crop


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_learns_with_both_heads(tmp_path, head):
    run, probs = tiny_run(tmp_path, classifier={"name": "gmic", "head": head}, protocol={"epochs": 6})
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert (probs.argmax(1) == run.context.val.labels).mean() > 0.5
    x = torch.tensor(run.context.val.images).permute(0, 3, 1, 2) / 255
    run.classifier.net.eval()
    logits = run.classifier.net(run.classifier.prepare(x)).detach()
    wanted = logits.softmax(1) if head == "softmax" else logits.sigmoid() / logits.sigmoid().sum(1, keepdim=True)
    assert np.allclose(probs, wanted, atol=1e-5)


def test_every_part_gets_a_gradient_and_beta_reaches_the_saliency_alone(tmp_path):
    net = ready(tmp_path).net
    out = net.outputs(torch.rand(4, 3, 16, 16))
    sum(part.square().sum() for part in out).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    net.zero_grad()
    net.outputs(torch.rand(4, 3, 16, 16)).local.sum().backward()  # no gradient through where the crops lie
    assert net.saliency.weight.grad is None or not net.saliency.weight.grad.any()


def test_one_image_is_predicted(tmp_path):
    run, probs = tiny_run(tmp_path, classifier="gmic", protocol={"backbone": "small_resnet"})
    assert np.allclose(run.evaluator.predict(run.context.val.images[:1], "val"), probs[:1], atol=1e-5)


@pytest.mark.parametrize("options", [{"head": "tanh"}, {"top": 0}, {"beta": -1}, {"crops": 0}, {"eps": 0}])
def test_bad_options(options):
    with pytest.raises(UserError, match=r"head must be softmax|needs 0 < top"):
        ltbench.build("classifier", "gmic", **options)


def test_a_crop_larger_than_the_image(tmp_path):
    with pytest.raises(UserError, match=r"crop must lie in 1\.\.16, the image size, got 17"):
        ready(tmp_path, crop=17)
