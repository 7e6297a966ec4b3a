"""DiffMIC: what it refuses, and what its options mean."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffmic_support import SMALL, fresh, tiny
from ltbench_diffmic.diffmic import DiffMIC
from PIL import Image

import ltbench
from ltbench.cli import main
from ltbench.describe import describe
from ltbench.errors import UserError
from ltbench.plugins import plugins
from ltbench.recipe.merge import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options, tiny_run


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
    with pytest.raises(UserError, match=rf"classifier\.{option} must.*{re.escape(str(value))}"):
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


def test_every_option_is_documented() -> None:
    text = describe(plugins().registry.get("classifier", "diffmic"))
    missing = [field.name for field in dataclasses.fields(DiffMIC) if f"  {field.name} = " not in text]
    assert not missing and "dual" in text.lower() and "map_stride: px of a cell" in text


@pytest.mark.parametrize("method", ["diffmic", "rl-cas"])
def test_one_class_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str) -> None:
    (tmp_path / "images" / "only").mkdir(parents=True)
    for k in range(12):
        picture = np.random.default_rng(k).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / "only" / f"{k}.png")
    words = ["--dataset", f"folder:{tmp_path / 'images'}", "--out", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(["run", "--method", method, *words]) == 2
    assert "needs at least 2 classes, got 1; add images of another class" in capsys.readouterr().err
    assert not list((tmp_path / "runs").rglob("result.json"))


@pytest.mark.parametrize("dataset", ["aptos", "ham10000"])
def test_the_released_protocol_selects_on_test_and_samples_as_documented(dataset: str) -> None:
    """docs/decisions.md: split, selection and metric are the release's; its sampler and warm-up are options."""
    draft, _ = resolve("diffmic", dataset, "diffmic2023-as-released")
    clean, _ = resolve("diffmic", dataset, "diffmic2023")
    chosen = [(found.recipe["protocol"]["split"], found.recipe["protocol"]["select"]) for found in (draft, clean)]
    assert chosen == [("released:diffmic_split", "accuracy"), ("column:diffmic_split", "macro_f1")]
    for found in (draft, clean):
        options = found.recipe["classifier"]
        assert (options["sampler"], options["warmup_epochs"], options["train_steps"]) == ("respaced", 10, 1000)
