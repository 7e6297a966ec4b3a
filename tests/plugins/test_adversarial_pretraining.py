"""Pre-training without labels of stylegan2 and cellgan, what it hands on, and frozen layers of the discriminator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_cellgan.networks import CODE, CellGenerator, one_hot
from ltbench_cellgan.training import CellTraining
from ltbench_stylegan2.discriminator import Discriminator
from ltbench_stylegan2.synthesis import GeneratorNetwork
from ltbench_stylegan2.training import StyleGAN2Training
from ltbench_stylegan2.transfer import transfer, trunk

import ltbench
from ltbench.errors import NonFinite, UserError
from ltbench.interfaces import ImagePool
from ltbench.recipe import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options

torch.set_num_threads(1)
IDS = ("stylegan2", "cellgan")
TRAININGS: dict[str, Any] = {"stylegan2": StyleGAN2Training, "cellgan": CellTraining}
PRETRAIN: dict[str, Any] = {"pretrain": ["in-domain"], "pretrain_kimg": 0.024}  # 3 steps


def spec(id: str, **given: Any) -> dict[str, Any]:
    return tiny_options("generator", id, **{"snapshot_kimg": 0, **given})


def fitted(folder: Path, id: str, content: str = "", **given: Any) -> Any:
    context = tiny_context(folder, generator=spec(id, **given))
    if content:
        context._pool = lambda sources: ImagePool((context.train.images,), content, tuple(sources))
    generator = ltbench.build("generator", spec(id, **given))
    context.fit(generator, context.recipe["generator"])
    return generator, context


def drawn(generator: Any) -> np.ndarray:
    return generator.sample(np.array([2, 1, 2]), guide=None, rng=np.random.default_rng(0))[0]


def networks(classes: int | None, side: int = 16) -> tuple[GeneratorNetwork, Discriminator]:
    return (
        GeneratorNetwork(side, 1, classes, latent=8, base=128, most=8),
        Discriminator(side, 1, classes, base=128, most=8, layers=2),
    )


def test_a_class_conditional_generator_starts_as_the_unconditional_one() -> None:
    torch.manual_seed(0)
    (before, _), (after, _) = networks(None), networks(3)
    start = after.mapping.layers[0].weight.detach().clone()
    left = transfer(after, before)
    assert left == ["mapping.embed.weight", "mapping.embed.bias"]
    assert torch.equal(after.mapping.layers[0].weight[:, 8:], 0.1 * start[:, 8:])
    z, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        wanted = before.eval().synthesis(before.styles(z, None), "const")
        near = after.eval().synthesis(after.styles(z, labels), "const")
        after.mapping.layers[0].weight[:, 8:] = 0
        assert torch.allclose(after.synthesis(after.styles(z, labels), "const"), wanted, atol=1e-5)
    assert 0 < float((near - wanted).abs().mean() / wanted.std()) < 0.5  # the label says something, a little


def test_the_discriminator_keeps_its_trunk_and_gets_a_new_head() -> None:
    torch.manual_seed(0)
    (_, before), (_, after) = networks(None), networks(3)
    head = after.head.weight.detach().clone()
    left = transfer(after, before)
    assert {name.split(".")[0] for name in left} == {"head", "mapping"} and torch.equal(after.head.weight, head)
    for name in ("from_image", "blocks", "conv", "dense"):
        pairs = zip(getattr(before, name).parameters(), getattr(after, name).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name


@pytest.mark.parametrize(("side", "layers"), [(8, 4), (16, 7), (32, 10), (64, 13), (128, 16), (256, 19)])
def test_layers_that_can_be_frozen(side: int, layers: int) -> None:
    with torch.device("meta"):
        d = Discriminator(side, 3, 2, base=128, most=8)
    found = trunk(d)
    assert len(found) == layers and found[:4] == [d.from_image, d.blocks[0].first, d.blocks[0].second, d.blocks[0].skip]
    assert not {id(d.conv), id(d.dense), id(d.head)} & {id(layer) for layer in found}


def test_frozen_layers_keep_the_weights_of_the_pretraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last: list[StyleGAN2Training] = []
    step = StyleGAN2Training.step

    def watched(self: StyleGAN2Training, *rest: Any) -> None:
        step(self, *rest)
        if self not in last:
            last.append(self)

    monkeypatch.setattr(StyleGAN2Training, "step", watched)
    fitted(tmp_path, "stylegan2", **PRETRAIN, kimg=0.024, freeze_d=5)
    before, after = (trunk(training.d) for training in last)
    same = [
        all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
        for a, b in zip(before, after, strict=True)
    ]
    assert same == [True] * 5 + [False] * 2 and not torch.equal(last[0].d.conv.weight, last[1].d.conv.weight)


def test_classes_of_cellgan_are_untouched_by_training_without_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one_hot(torch.tensor([2, -1, 0]), 3, torch.zeros(1)).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    states: list[tuple[set[int], dict[str, Any]]] = []
    step = CellTraining.step

    def watched(self: CellTraining, i: int, real: Any, labels: torch.Tensor, draw: Any, autocast: Any) -> None:
        networks = {f"{n}.{k}": v.clone() for n in ("g", "d") for k, v in getattr(self, n).state_dict().items()}
        states.append((set(labels.tolist()) | set(draw(4).tolist()), networks))
        step(self, i, real, labels, draw, autocast)

    monkeypatch.setattr(CellTraining, "step", watched)
    fitted(tmp_path, "cellgan", **PRETRAIN, kimg=0.016)
    assert [seen == {-1} for seen, _ in states] == [True] * 3 + [False] * 2
    first, handed = states[0][1], states[3][1]  # before the first step, and before the first one with labels
    raw = ".parametrizations.weight.original"
    assert torch.equal(first[f"d.embed{raw}"], handed[f"d.embed{raw}"])
    assert torch.equal(first["g.mapping.0.weight"], handed["g.mapping.0.weight"])  # no class_norm in tier tiny
    assert not torch.equal(first["g.mapping.0.bias"], handed["g.mapping.0.bias"])
    assert not torch.equal(first[f"d.head{raw}"], handed[f"d.head{raw}"])


def test_without_a_label_cellgan_draws_one_kind_of_image() -> None:
    torch.manual_seed(0)
    g = CellGenerator(8, 1, 3, width=2).eval()
    z = torch.randn(1, CODE)
    with torch.no_grad():
        none, one = g(z, torch.tensor([-1])), g(z, torch.tensor([1]))
    assert none.shape == one.shape and not torch.equal(none, one)


@pytest.mark.parametrize("id", IDS)
def test_phases_are_shared_and_pools_told_apart(tmp_path: Path, id: str) -> None:
    plain = fitted(tmp_path, id, kimg=0.016)
    first = fitted(tmp_path, id, kimg=0.016, **PRETRAIN)
    assert set(plain[1].fits) == {f"{id}/gan"} and set(first[1].fits) == {f"{id}/gan", f"{id}/pretraining"}
    longer = fitted(tmp_path, id, kimg=0.024, **PRETRAIN)
    assert longer[1].fits[f"{id}/pretraining"] == first[1].fits[f"{id}/pretraining"]
    other = fitted(tmp_path, id, content="other", kimg=0.016, **PRETRAIN)
    assert not set(other[1].fits.values()) & set(first[1].fits.values())
    assert plain[1].fits[f"{id}/gan"] != first[1].fits[f"{id}/gan"]
    assert not np.array_equal(drawn(plain[0]), drawn(first[0]))


@pytest.mark.parametrize("id", IDS)
def test_a_killed_pretraining_goes_on_bit_for_bit(tmp_path: Path, id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(tmp_path / "whole", id, kimg=0.016, **PRETRAIN)[0]
    monkeypatch.setattr("ltbench.engine.fits.SAVE_EVERY", 0.0)
    step, done = TRAININGS[id].step, []

    def dies(self: Any, *rest: Any) -> None:
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        step(self, *rest)

    monkeypatch.setattr(TRAININGS[id], "step", dies)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "killed", id, kimg=0.016, **PRETRAIN)
    again = fitted(tmp_path / "killed", id, kimg=0.016, **PRETRAIN)[0]
    assert len(done) == 2 + 2 + 2  # the second step of three again, then two with labels
    assert np.array_equal(drawn(whole), drawn(again))


def test_a_broken_pretraining_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: Any, *rest: Any) -> None:
        self.stopped = "the loss is nan"

    monkeypatch.setattr(CellTraining, "step", breaks)
    with pytest.raises(NonFinite, match=r"pre-training broke off: the loss is nan; .*generator.pretrain_kimg=0\.012"):
        fitted(tmp_path, "cellgan", kimg=0.016, **PRETRAIN)


def test_after_a_pretraining_the_ramp_is_off_and_p_moves_faster(tmp_path: Path) -> None:
    found = {}
    for name, given in {"none": {}, "some": {"pretrain": ["in-domain"]}}.items():
        generator, _ = fitted(tmp_path, "stylegan2", kimg=0.008, pretrain_kimg=None, **given)
        generator.options |= {"kimg": 2000.0, "ada_kimg": None}
        o = generator.fit_values(tiny_context(tmp_path))
        found[name] = (o["ema_ramp"], o["ada_kimg"])
    assert found == {"none": (0.05, 300.0), "some": (0.0, 100.0)}


def test_options_that_are_off_stand_in_no_recipe() -> None:
    for method in ("stylegan2-ada", "cellgan"):
        plain = resolve(method, "digits-lt", "quick")[0].recipe["generator"]
        assert not set(plain) & {"pretrain", "pretrain_kimg", "freeze_d"}
        some = resolve(method, "digits-lt", "quick", 0, {"generator.pretrain": ["own"]})[0].recipe["generator"]
        assert some == {**plain, "pretrain": ["own"]}


@pytest.mark.parametrize(
    ("id", "given", "words"),
    [
        ("cellgan", {"pretrain": "own"}, r"generator\.pretrain must be none or a list of sources"),
        ("stylegan2", {"pretrain": []}, r"generator\.pretrain must be none or a list of sources"),
        ("cellgan", {"pretrain": ["own"], "pretrain_kimg": 0}, r"generator\.pretrain_kimg must be a number above 0"),
        ("stylegan2", {"pretrain_kimg": 5}, r"generator\.pretrain_kimg must be none without a pre-training, got 5"),
        ("stylegan2", {"freeze_d": 4}, r"generator\.freeze_d must be 0 without a pre-training, got 4"),
        ("stylegan2", {"pretrain": ["own"], "freeze_d": -1}, r"generator\.freeze_d must be a whole number"),
    ],
)
def test_options_out_of_range_are_named(id: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ltbench.build("generator", id, **given)


def test_more_frozen_layers_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generator\.freeze_d must be at most 7, .* for 16 px, got 8"):
        fitted(tmp_path, "stylegan2", **PRETRAIN, freeze_d=8)
