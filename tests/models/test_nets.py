"""Every backbone that the standard classifier promises builds, trains a step and predicts at its protocol's size."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ltbench.engine.checkpoint import copy_state
from ltbench.engine.device import DevicePolicy
from ltbench.errors import NonFinite, UserError
from ltbench.interfaces import Batch, ImageTable, Stage, Task
from ltbench.models.nets import build_backbone, load_weights
from ltbench.models.optim import build_optimizer, learning_rate
from ltbench.models.standard import StandardClassifier

SHARED = Path(os.environ.get("LTBENCH_SHARED", Path(__file__).parents[3] / "shared"))
IMAGENET = SHARED / "weights" / "mobilenet_v2_imagenet.safetensors"
needs_imagenet = pytest.mark.skipif(not IMAGENET.is_file(), reason="the ImageNet weights are not on this machine")
CLASSES = 3
BACKBONES = [
    ("small_cnn", 8),
    ("small_resnet", 8),
    ("resnet10t", 64),
    ("resnet18", 64),
    ("resnet50", 64),
    ("mobilenetv2_100", 64),
    ("efficientnet_b0", 64),
    ("convnext_atto", 64),
    ("pvt_v2_b0", 64),
    ("vit_tiny_patch16_224", 224),
    ("swin_tiny_patch4_window7_224", 224),
]


class Batches(list):
    """Batches in a list."""


def context(backbone: str, size: int, channels: int = 3, **protocol):
    import ltbench

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, size, size, channels), dtype=np.uint8)
    ids = np.array(list("abcd"))
    table = ImageTable(images, np.array([0, 1, 2, 0]), ids, ids)
    fields = {
        "backbone": backbone,
        "weights": "none",
        "epochs": 1,
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0},
        "schedule": {"name": "constant"},
        **protocol,
    }
    policy = DevicePolicy.choose("cpu", "float32")
    return SimpleNamespace(
        recipe={"protocol": fields},
        task=Task(CLASSES, ("a", "b", "c"), np.array([2, 1, 1]), (size, size, channels)),
        train=table,
        device=policy.device,
        policy=policy,
        autocast=policy.autocast,
        component=lambda slot: ltbench.build(slot, "ce"),
        weights_path=protocol.get("path"),
        epoch=0,
    )


def test_networks_lie_channels_last_on_every_device() -> None:
    net = DevicePolicy.choose("cpu", "float32").place(torch.nn.Conv2d(3, 4, 3))
    assert net.weight.is_contiguous(memory_format=torch.channels_last)
    assert not net.weight.is_contiguous()


def one_batch(table: ImageTable, rows) -> Batch:
    x = torch.tensor(table.images[rows]).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor(table.labels[rows])
    return Batch(x, labels, torch.zeros(len(rows), dtype=torch.bool), torch.tensor(rows), (x,), 0, 0)


@pytest.mark.parametrize(("backbone", "size"), BACKBONES)
def test_builds_trains_a_step_and_predicts(backbone, size):
    ctx = context(backbone, size)
    torch.manual_seed(0)
    classifier = StandardClassifier()
    classifier.setup(ctx)
    classifier.start_stage(Stage("train", 1), ctx)
    before = {k: v.clone() for k, v in classifier.net.state_dict().items()}
    log = classifier.train_epoch(Batches([one_batch(ctx.train, [0, 1])]), ctx)
    assert np.isfinite(log["loss"])
    assert any(not torch.equal(before[k], v) for k, v in classifier.net.state_dict().items())
    probs = classifier.predict(ctx.train.images[:2], ctx)
    assert (probs.shape, probs.dtype) == ((2, CLASSES), np.float32)
    assert np.allclose(probs.sum(1), 1, atol=1e-5)
    assert np.allclose(classifier.predict(ctx.train.images[:1], ctx), probs[:1], atol=1e-5)  # a batch of one
    assert classifier.features(ctx.train.images[:2], ctx).shape[0] == 2


def test_grey_images_and_restored_state():
    ctx = context("small_cnn", 8, channels=1)
    first, second = StandardClassifier(), StandardClassifier(eval_batch=3)
    for classifier in (first, second):
        classifier.setup(ctx)
        classifier.start_stage(Stage("train", 1), ctx)
    first.train_epoch(Batches([one_batch(ctx.train, [0, 1, 2, 3])]), ctx)
    second.load_state_dict(copy_state(first.state_dict()))
    assert np.allclose(first.predict(ctx.train.images, ctx), second.predict(ctx.train.images, ctx), atol=1e-6)
    for classifier in (first, second):
        classifier.train_epoch(Batches([one_batch(ctx.train, [3, 2])]), ctx)
    for a, b in zip(first.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)  # with the optimiser's momentum


def test_a_state_of_another_network_is_refused():
    states = []
    for name in ("small_cnn", "small_resnet"):
        classifier = StandardClassifier()
        classifier.setup(context(name, 8))
        states.append(classifier)
    with pytest.raises(UserError, match="do not fit this network"):
        states[0].load_state_dict(states[1].state_dict())


def test_a_non_finite_loss_is_named():
    ctx = context("small_cnn", 8)
    classifier = StandardClassifier()
    classifier.setup(ctx)
    classifier.start_stage(Stage("train", 1), ctx)
    batch = one_batch(ctx.train, [0, 1])
    batch.images.fill_(float("nan"))
    with pytest.raises(NonFinite, match=r"the training loss became nan.*--set protocol.optimizer.lr=0.001"):
        classifier.train_epoch(Batches([batch]), ctx)


def randomised(model):
    """Running statistics other than 0 and 1, so that a permutation of BatchNorm layers shows."""
    torch.manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_()
        if name.endswith(("running_var", "bn.weight")):
            value.uniform_(0.5, 2)
    return model.eval()


@torch.no_grad()
def torchvision_features(model, x):
    return model.features(x).mean((2, 3))


def test_torchvision_names_of_mobilenet_v2_are_mapped_exactly(tmp_path):
    import torchvision

    theirs = randomised(torchvision.models.mobilenet_v2(weights=None))
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    ours = build_backbone("mobilenetv2_100", 3, 64, "net", str(tmp_path / "net.safetensors")).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(x), torchvision_features(theirs, x), atol=1e-4)


@needs_imagenet
def test_the_imagenet_file_gives_torchvisions_features():
    import torchvision
    from safetensors.torch import load_file

    theirs = torchvision.models.mobilenet_v2(weights=None)
    theirs.load_state_dict(load_file(str(IMAGENET)), strict=True)
    theirs.eval()
    ours = build_backbone("mobilenetv2_100", 3, 96, "file", str(IMAGENET)).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features = ours(x)
    assert features.std() > 0.1
    assert torch.allclose(features, torchvision_features(theirs, x), atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100"])
def test_files_with_the_networks_own_names_load_also_without_batch_counters(tmp_path, name):
    source = randomised(build_backbone(name, 3, 64, "none", None))
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    head = "fc" if name == "resnet18" else "classifier"
    save_file(
        {**state, f"{head}.weight": torch.zeros(5, 7), f"{head}.bias": torch.zeros(5)}, tmp_path / "w.safetensors"
    )
    ours = build_backbone(name, 3, 64, "w", str(tmp_path / "w.safetensors")).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), source(x))


def test_weights_that_do_not_fit(tmp_path):
    model = build_backbone("resnet18", 3, 64, "none", None)
    path = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="hold 1 tensors, backbone 'resnet18' needs"):
        load_weights(model, path, "resnet18")
    state = dict(model.state_dict())
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    save_file(state, path)
    with pytest.raises(UserError, match=r"conv1.weight is \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)"):
        load_weights(model, path, "resnet18")
    path.write_bytes(b"no safetensors")
    with pytest.raises(UserError, match=r"no readable \.safetensors file"):
        load_weights(model, path, "resnet18")


def test_unknown_backbone_optimiser_and_schedule():
    with pytest.raises(UserError, match="unknown backbone 'resnet17'; timm has for example"):
        build_backbone("resnet17", 3, 64, "none", None)
    with pytest.raises(UserError, match="has no pre-trained weights"):
        build_backbone("small_cnn", 1, 8, "timm", None)
    with pytest.raises(UserError, match="unknown optimizer 'lion'"):
        build_optimizer({"name": "lion"}, [{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    with pytest.raises(UserError, match="unknown schedule 'poly'"):
        learning_rate({"optimizer": {"lr": 1}, "schedule": {"name": "poly"}}, 0, 0, 1, 1)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "pvt_v2_b0", "swin_tiny_patch4_window7_224"])
def test_images_too_small_for_a_backbone_are_refused(name):
    with pytest.raises(
        UserError, match=f"backbone '{name}' cannot read images or crops of 3 x 3 px .*image_size=N, or another"
    ):
        build_backbone(name, 3, 3, "none", None)


def test_building_a_backbone_leaves_it_to_train_and_draws_nothing_more():
    torch.manual_seed(0)
    found = build_backbone("resnet10t", 3, 32, "none", None)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    import timm

    plain = timm.create_model("resnet10t", num_classes=0)
    assert torch.equal(torch.get_rng_state(), state) and found.training
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), plain.state_dict().values(), strict=True))


def test_schedules():
    cosine = {"optimizer": {"lr": 1.0}, "schedule": {"name": "cosine", "warmup": 1}}
    rates = [learning_rate(cosine, e, s, 4, 3) for e in range(3) for s in range(4)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[8] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(rates[3:]))
    assert 0 < rates[-1] < 0.05
    steps = {"optimizer": {"lr": 1.0}, "schedule": {"name": "steps", "at": [0.3, 0.6, 0.9], "gamma": 0.1}}
    assert [learning_rate(steps, e, 0, 1, 10) for e in (0, 2, 3, 6, 9)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])
