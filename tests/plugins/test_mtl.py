"""Multi-task learning: the vector, the auxiliary labels and their mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ltbench_longtail.mtl import MultiTask, codes, joint_loss, masked_mean, rotated

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import Batch, Stage
from ltbench.testing import tiny_context, tiny_run


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ready(folder, columns=None, **options) -> MultiTask:
    """A classifier that has begun; `columns` replace the aux columns of the training images."""
    context = tiny_context(folder, classifier={"name": "mtl", **options})
    if columns is not None:
        context.train = replace(context.train, aux=columns)
    classifier = context.component("classifier")
    classifier.setup(context)
    classifier.start_stage(Stage("train", 2), context)
    return classifier


def batch(rows, labels) -> Batch:
    rows, labels = torch.tensor(rows), torch.tensor(labels)
    images = torch.rand(len(rows), 3, 16, 16)
    return Batch(images, labels, rows < 0, rows, (images,), epoch=0, step=0)


def test_vector():
    values, mask = double(0.5, 9.0, 1.5, -7.0), torch.tensor([True, False, True, False])
    assert joint_loss(double(1.06481263)[0], values, mask, 0.5).item() == pytest.approx(1.56481263, abs=1e-9)


def test_a_batch_without_auxiliary_labels_adds_nothing():
    values = double(0.5, float("inf")).requires_grad_()
    assert masked_mean(values, torch.zeros(2, dtype=torch.bool)).item() == 0
    joint_loss(values[0], values, torch.zeros(2, dtype=torch.bool), 1.0).backward()
    assert values.grad.tolist() == [1, 0]


def test_unknown_and_missing_values_have_no_code():
    column, classes = codes(np.array(["Back", "unknown", "", "face", "nan", " back ", "None"], dtype=object))
    assert column.tolist() == [0, -1, -1, 1, -1, 0, -1]
    assert classes == 2
    assert codes(np.array([1.0, np.nan, 2.0]))[0].tolist() == [0, -1, 1]


def test_auto_takes_the_site_where_there_is_one(tmp_path):
    site = ready(tmp_path / "a")
    assert site.task_name == "metadata:site"
    assert site._labels(batch([0, 1, -1, 2], [0, 0, 0, 0])).tolist() == [0, 1, -1, 0]  # a synthetic image has no site
    coarse = ready(tmp_path / "b", columns={}, healthy=1)
    assert coarse.task_name == "coarse_label"
    assert coarse._labels(batch([0, 1, -1], [0, 1, 2])).tolist() == [1, 0, 1]


def test_images_turn_by_quarters():
    images = torch.arange(32.0).view(4, 2, 2, 2)
    turned = rotated(images, torch.arange(4))
    assert all(torch.equal(turned[k], torch.rot90(images[k], k, (1, 2))) for k in range(4))


@pytest.mark.parametrize("aux", ["metadata:site", "coarse_label", "rotation"])
def test_learns_with_every_task(tmp_path, aux):
    run, probs = tiny_run(tmp_path, classifier={"name": "mtl", "aux": aux}, protocol={"epochs": 6})
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert (probs.argmax(1) == run.context.val.labels).mean() > 0.5
    assert run.classifier.net[2].out_features == {"rotation": 4}.get(aux, 2)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_auxiliary_head_trains_by_its_weight_alone(tmp_path, weight):
    classifier = ready(tmp_path, weight=weight)
    loss, logits = classifier.training_loss(batch([0, 1, 2, 3], [0, 1, 2, 0]))
    loss.backward()
    assert logits.shape == (4, 3)
    assert bool(classifier.net[2].weight.grad.any()) == bool(weight)
    assert classifier.net[1].weight.grad.any()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"aux": "metadata:localization"}, "no column 'localization'; it has: none; use --set classifier.aux"),
        (None, {"aux": "metadata:sex"}, "no column 'sex'; it has: site"),
        ({"site": np.full(24, "unknown")}, {"aux": "metadata:site"}, "fewer than 2 known values"),
        (None, {"aux": "coarse_label", "healthy": 3}, "healthy must be a class 0..2"),
    ],
)
def test_data_without_the_labels(tmp_path, columns, options, message):
    with pytest.raises(UserError, match=message):
        ready(tmp_path, columns, **options)


@pytest.mark.parametrize(("options", "message"), [({"aux": "site"}, "metadata:COLUMN"), ({"weight": -1}, "weight")])
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", "mtl", **options)


@pytest.mark.parametrize(
    ("names", "healthy"),
    [(("malignant", "normal, benign"), 1), (("No_DR", "Mild"), 0), (("a", "b", "Healthy"), 2), (("x", "y"), 0)],
)
def test_the_healthy_class_is_found_by_its_name_and_said(names, healthy, caplog):
    classifier = ltbench.build("classifier", "mtl")
    classifier._choose_healthy(names)
    assert classifier.healthy == healthy
    assert repr(names[healthy]) in caplog.text
    assert ("the main task again" in caplog.text) == (len(names) == 2)


@pytest.mark.parametrize("weight", [float("nan"), -1, "much"])
def test_a_useless_weight_is_refused(weight):
    with pytest.raises(UserError, match=r"classifier\.weight must be a number of at least 0"):
        ltbench.build("classifier", "mtl", weight=weight)
