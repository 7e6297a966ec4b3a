"""LIFT: vectors, adapters that start at zero, what trains, where the weights come from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from ltbench_decoupling.ncm import class_means
from ltbench_longtail.lift import Adapter, adapt, adapter_width, five_crops
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import ltbench
from ltbench.errors import UserError
from ltbench.interfaces import Stage
from ltbench.models.nets import CosineHead
from ltbench.recipe import resolve
from ltbench.testing import tiny_context, tiny_run

SHALLOW = "test_vit.r160_in1k"  # six blocks of 64 features


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of the shallow ViT at its own size, with a last layer."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(timm.create_model(SHALLOW.split(".")[0], pretrained=False).state_dict(), path)
    return path


def ready(folder, weights=None, protocol=None, **options):
    given = {"name": "lift", "backbone": SHALLOW, "untrained": weights is None, **options}
    given |= {"weights_path": str(weights)} if weights else {}
    context = tiny_context(folder, classifier=given, loss="logit-adjustment", protocol=protocol)
    classifier = context.component("classifier")
    classifier.setup(context)
    return classifier, context


def test_cosine_vector():
    head = CosineHead(2, 2, scale=25.0).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1, 0], [0, 2]]))
    assert np.allclose(head(torch.tensor([[3, 4]], dtype=torch.float64)).detach(), [[15, 20]], atol=1e-12)


@pytest.mark.parametrize(
    ("classes", "width"), [(2, 1), (7, 1), (24, 1), (47, 1), (48, 2), (100, 4), (1000, 32), (8142, 256)]
)
def test_adapter_width(classes, width):
    assert adapter_width(classes, 12) == width


def test_five_crops_of_the_enlarged_image():
    crops = five_crops(torch.rand(1, 3, 224, 224))
    assert [crop.shape for crop in crops] == [(1, 3, 224, 224)] * 5
    constant = torch.full((2, 3, 16, 16), 0.25)
    assert all(torch.allclose(crop, constant) for crop in five_crops(constant))


def test_an_adapter_reads_what_enters_the_mlp_and_is_zero_at_first():
    torch.manual_seed(0)
    block = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=8).blocks[0].double()
    x = torch.rand(2, 5, 192, dtype=torch.float64)
    plain = block(x)
    adapt(block, 192, 4)
    block.double()
    assert (block(x) - plain).abs().max() == 0
    adapter = block.adapter
    assert isinstance(adapter, Adapter) and adapter.scale.item() == 1 and adapter.down.weight.any()
    torch.nn.init.normal_(adapter.up.weight)
    h = x + block.attn(block.norm1(x))
    a = adapter.scale * adapter.up(F.relu(adapter.down(adapter.norm(h))))
    assert torch.allclose(block(x), h + block.mlp(block.norm2(h)) + a, atol=1e-12)


def test_the_tuned_model_starts_equal_to_the_frozen_one(tmp_path):
    classifier, _ = ready(tmp_path)
    x = torch.rand(3, 3, 16, 16)
    plain = timm.create_model("test_vit", num_classes=0, img_size=16, patch_size=4)
    plain.load_state_dict({k: v for k, v in classifier.net[0].state_dict().items() if ".adapter." not in k})
    classifier.net.eval()
    assert (classifier.net[0](x) - plain.eval()(x)).abs().max() == 0


def test_only_adapters_and_head_train(tmp_path):
    run, _ = tiny_run(
        tmp_path, classifier={"name": "lift", "backbone": SHALLOW}, protocol={"epochs": 6, "batch_size": 4}
    )
    fresh, _ = ready(tmp_path / "fresh")
    trained = {name for name, p in run.classifier.net.named_parameters() if p.requires_grad}
    assert all(".adapter." in name or name == "1.weight" for name in trained) and len(trained) == 6 * 7 + 1
    optimised = {id(p) for group in run.classifier.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in run.classifier.net.parameters() if p.requires_grad}
    first = run.history[0]["loss"]
    assert run.history[-1]["loss"] < first
    assert run.classifier.net[0].blocks[1].adapter.up.weight.any()
    assert set(fresh.net.state_dict()) == set(run.classifier.net.state_dict())


def test_frozen_weights_stay_as_they_were(tmp_path, weights):
    classifier, _ = ready(tmp_path, weights)
    before = {k: v.clone() for k, v in classifier.net.state_dict().items()}
    given = {"name": "lift", "backbone": SHALLOW, "untrained": False, "weights_path": str(weights)}
    run, _ = tiny_run(tmp_path / "run", classifier=given)
    after = run.classifier.net.state_dict()
    frozen = [k for k in before if ".adapter." not in k and k != "1.weight"]
    assert len(frozen) > 20 and all(torch.equal(before[k], after[k]) for k in frozen)


def test_the_head_starts_at_the_class_means(tmp_path):
    classifier, context = ready(tmp_path)
    classifier.start_stage(Stage("train", 2), context)
    means = class_means(classifier.features(context.train.images, context), context.train.labels, 3)
    assert torch.allclose(classifier.net[1].weight, F.normalize(means, dim=1), atol=1e-5)


def test_training_adds_the_prior_and_prediction_does_not(tmp_path):
    classifier, context = ready(tmp_path)
    classifier.net.eval()
    images, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    z = classifier.net(classifier.prepare(images))
    assert torch.allclose(classifier.logits(images), z)
    loss, logits = classifier.training_loss(SimpleNamespace(images=images, labels=labels))
    prior = torch.from_numpy(context.task.class_counts / context.task.class_counts.sum()).float().log()
    assert torch.allclose(loss, F.cross_entropy(z + prior, labels), atol=1e-6)
    assert torch.allclose(logits, z)


def test_tte_averages_logits(tmp_path):
    classifier, context = ready(tmp_path, tte=True)
    classifier.net.eval()
    x = torch.rand(2, 3, 16, 16)
    wanted = torch.stack([classifier.net(classifier.prepare(crop)) for crop in five_crops(x)]).mean(0)
    assert torch.allclose(classifier.logits(x), wanted, atol=1e-6)
    assert np.allclose(classifier.predict(context.val.images, context).sum(1), 1, atol=1e-5)


def test_grey_images_and_the_backbones_own_normalisation(tmp_path):
    classifier, _ = ready(tmp_path)
    assert classifier.mean.shape == (1, 3, 1, 1) and classifier.mean.unique().tolist() == [0.5]
    assert classifier.prepare(torch.full((1, 1, 16, 16), 0.5)).shape == (1, 3, 16, 16)


def test_weights_of_the_backbones_own_size_fit_any_image(tmp_path, weights):
    big, _ = ready(tmp_path / "a", weights, {"image_size": 160, "stored_size": 160})
    stored = load_file(weights)
    assert torch.equal(big.net[0].patch_embed.proj.weight, stored["patch_embed.proj.weight"])
    small, _ = ready(tmp_path / "b", weights)
    assert small.net[0].patch_embed.proj.weight.shape[-1] == 4
    assert torch.equal(small.net[0].blocks[0].mlp.fc1.weight, stored["blocks.0.mlp.fc1.weight"])


def test_no_weights(tmp_path):
    with pytest.raises(UserError, match=r"weights_path=PATH.*protocol\.weights=timm.*untrained=true"):
        ready(tmp_path, untrained=False)


def test_weights_that_do_not_fit(tmp_path, weights):
    with pytest.raises(UserError, match=r"'no\.safetensors' does not exist"):
        ready(tmp_path, "no.safetensors", untrained=False)
    with pytest.raises(UserError, match=r"vit\.safetensors do not fit 'vit_tiny_patch16_224'"):
        ready(tmp_path, weights, untrained=False, backbone="vit_tiny_patch16_224")
    few = tmp_path / "few.safetensors"
    save_file({"norm.weight": torch.ones(64)}, few)
    with pytest.raises(UserError, match=r"few\.safetensors do not fit .* is missing"):
        ready(tmp_path, few, untrained=False)


def test_other_backbones(tmp_path):
    with pytest.raises(UserError, match="unknown backbone 'vit_huge'"):
        ready(tmp_path, backbone="vit_huge")
    with pytest.raises(UserError, match="lift needs a ViT, 'resnet10t' is none"):
        ready(tmp_path, backbone="resnet10t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter_dim": 0}, "adapter_dim"),
        ({"scale": -1.0}, "scale"),
        ({"untrained": True, "weights_path": "vit.safetensors"}, "contradicts"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        ltbench.build("classifier", "lift", **options)


def test_an_untrained_row_says_so_and_stays_out_of_the_default_table():
    draft, _ = resolve("lift", "digits-lt", "quick", overrides={"classifier.untrained": True})
    assert draft.method == "lift+classifier.untrained=True" and not draft.standard
    plain, _ = resolve("lift", "digits-lt", "quick")
    assert plain.recipe["classifier"]["untrained"] is False
    assert {"backbone", "weights"} <= set(plain.owns)
