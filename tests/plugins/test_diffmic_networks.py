"""DiffMIC: guide, encoder and denoiser as modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffmic_support import fresh
from ltbench_diffmic.denoiser import Denoiser, Encoder
from ltbench_diffmic.guide import EPS, DualGuide, corners, priors
from ltbench_diffmic.guide import Logits as GuideLogits
from ltbench_diffmic.trunk import build_trunk
from torch import nn

from ltbench.models.nets import build_backbone
from ltbench.models.regions import GatedAttention, rescaled
from ltbench.testing.tiny import tiny_context, tiny_options


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("classes", "denoiser", "guide"),
    [(4, 108417604, 47556864), (5, 108436037, 47560960), (7, 108472903, 47569152)],
)
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
    assert parameters(noise.gammas) == 18450432 and parameters(encoder[0], encoder[1]) == 14328384


@pytest.mark.parametrize(("mmd", "momentum"), [(0.5, 0.271), (0.0, 0.1)])
def test_statistics_of_the_encoder_move_as_in_three_passes(tmp_path: Path, mmd: float, momentum: float) -> None:
    """The release runs the encoder once for each of three branches, this one once: 1 - 0.9**3 for three times 0.1."""
    spec = tiny_options("classifier", "diffmic", mmd=mmd)
    context = tiny_context(tmp_path, classifier=spec)
    encoder = fresh(context.recipe["classifier"], context).nets["encoder"]
    norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(m.momentum == pytest.approx(momentum) for m in norms)


def test_fusions_of_the_prior() -> None:
    g, s = torch.tensor([[2.0, 0, -1]]), torch.tensor([[-1.0, 3, 0]])
    logits = GuideLogits((g + s) / 2, g, s)
    expected = {"mean_logit": (0.244728, 0.665241, 0.090031), "mean_prob": (0.430471, 0.525217, 0.044311)}
    for fusion, values in expected.items():
        np.testing.assert_allclose(priors(logits, fusion).fused[0], values, atol=6e-7)


def test_places_of_the_crops() -> None:
    maps = torch.tensor([[[1.0, 0], [2, 4]], [[4, 1], [0, 0]]])[None]
    np.testing.assert_allclose(rescaled(maps, EPS).sum(1)[0], [[1.25, 0.25], [0.5, 1]])
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
    assert float(weights[0, 0].log() - weights[0, 1].log()) == pytest.approx(0.55677, abs=5e-6)  # scores .55677 and 0


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
