"""Extractors: the same features in any batch, names that tell the truth, a cache by content."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ltbench.errors import UserError
from ltbench.features import base, build_extractor, cached
from ltbench.metrics import measure_names
from ltbench.metrics.naming import INCEPTION_2015
from ltbench.models.images import resize_images, resized

CPU = torch.device("cpu")
SHARED = Path(os.environ.get("LTBENCH_SHARED", Path(__file__).parents[3] / "shared"))
MOBILENET = SHARED / "weights" / "mobilenet_v2_imagenet.safetensors"


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """torch-fidelity's own class with random weights, saved as its weights are."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.save({}, path)
        network = module.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("spec", ["randconv-s0", "randconv-s3-std", "pca64-pixels"])
def test_features_do_not_depend_on_the_batch(images, spec):
    extractor = build_extractor(spec, images, CPU)
    whole = extractor.features(images)
    extractor.batch = 7
    assert extractor.features(images) == pytest.approx(whole, rel=1e-5, abs=1e-5)
    assert whole.ndim == 2 and len(whole) == 70 and np.isfinite(whole).all() and extractor.name == spec
    assert build_extractor(spec, images, CPU).weights == extractor.weights != ""


def test_random_seeds_differ_and_standardised_features_have_unit_sd(images):
    one, two = (build_extractor(f"randconv-s{s}", images, CPU) for s in (0, 1))
    assert one.weights != two.weights and not np.allclose(one.features(images), two.features(images))
    spread = build_extractor("randconv-s0-std", images, CPU).features(images).std(0)
    assert ((abs(spread - 1) < 1e-6) | (spread == 0)).all() and (spread > 0).mean() > 0.5


def test_shrinking_is_antialiased():
    """An impulse in a corner of 4 x 4 pixels becomes 9 / 49; a row of eight pixels with one 8 becomes 2, 0."""
    corners = np.zeros((2, 4, 4, 1), np.uint8)
    corners[0, 0, 0], corners[0, 3, 3], corners[1, 3, 3] = 49, 245, 98
    assert resize_images(corners, 2)[:, :, :, 0].tolist() == [[[9, 0], [0, 45]], [[0, 0], [0, 18]]]
    row = np.zeros((1, 1, 8, 1), np.uint8)
    row[0, 0, 1] = 80
    assert resized(row, (1, 2)).flatten().tolist() == [20, 0]


def test_backbone_features_are_computed_without_reduced_precision(monkeypatch, tmp_path):
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, x.dtype))
            return x.mean((2, 3))

    monkeypatch.setattr("ltbench.features.networks.build_backbone", lambda *args: Network())
    matmul, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    extractor = build_extractor(f"tv-resnet18:{tmp_path / 'w.safetensors'}", np.zeros((4, 8, 8, 3), np.uint8), CPU)
    matmul.allow_tf32 = True
    try:
        extractor.features(np.zeros((2, 8, 8, 3), np.uint8))
        assert seen == [(False, False, torch.float32)] and matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before


def test_grey_images_are_repeated(images):
    grey = images[:5, :, :, :1]
    extractor = build_extractor("randconv-s0", images, CPU)
    assert np.array_equal(extractor.features(grey), extractor.features(np.repeat(grey, 3, axis=3)))


@pytest.mark.skipif(not MOBILENET.is_file(), reason="needs ImageNet weights in ../shared")
def test_a_backbone_from_a_file(images):
    extractor = build_extractor(f"tv-mobilenetv2_100:{MOBILENET}", images, CPU)
    whole = extractor.features(images[:5])
    extractor.batch = 2
    assert whole.shape == (5, 1280) and extractor.features(images[:5]) == pytest.approx(whole, rel=1e-4, abs=1e-5)
    assert extractor.name.startswith("tv-mobilenetv2_100-")
    assert measure_names(extractor.name, extractor.weights)[0] == "fd"


def test_other_inception_weights_are_never_fid(images, inception):
    with pytest.raises(UserError, match=r"is not the Inception of 2015.*stand-in:"):
        build_extractor(f"fid:{inception}", images, CPU)
    extractor = build_extractor(f"stand-in:{inception}", images, CPU)
    found = extractor.features(images[:3])
    assert found.shape == (3, 2048) and np.isfinite(found).all() and found.std(axis=0).max() > 0
    assert extractor.name == f"stand-in-{extractor.weights[:8]}" and extractor.weights != INCEPTION_2015
    assert measure_names(extractor.name, extractor.weights) == ("fd", "kd")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    direct = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(inception))
    x = torch.from_numpy(images[:3]).permute(0, 3, 1, 2)
    assert found == pytest.approx(direct(x)[0].numpy(), rel=1e-4, abs=1e-5)


def test_missing_and_foreign_weights_are_errors(images, inception, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"cannot be downloaded.*no route to host"):
        build_extractor("fid", images, CPU)
    with pytest.raises(UserError, match="do not exist"):
        build_extractor("fid:nowhere.pth", images, CPU)
    with pytest.raises(UserError, match="does not exist"):
        build_extractor("tv-resnet18:nowhere.safetensors", images, CPU)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="holds no Inception weights"):
        build_extractor(f"stand-in:{tmp_path / 'text.pth'}", images, CPU)
    with pytest.raises(UserError, match=r"unknown extractor 'inceptoin'; there are: reference, randconv"):
        build_extractor("inceptoin", images, CPU)


def test_real_features_are_cached_by_content(images, tmp_path, monkeypatch):
    monkeypatch.setenv("LTBENCH_CACHE", str(tmp_path))
    extractor = build_extractor("randconv-s0", images, CPU)
    first = cached(extractor, images)(images)
    (stored,) = (tmp_path / "features").glob("*.npy")
    monkeypatch.setattr(extractor, "some", None)  # what is found needs no network
    assert np.array_equal(cached(extractor, images)(images), first)
    copy = images.copy()
    assert np.array_equal(cached(extractor, copy)(copy), first)
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    with pytest.raises(TypeError):
        cached(extractor, changed)(changed)
    stored.write_bytes(b"damaged")
    assert base._read(stored, 70) is None
