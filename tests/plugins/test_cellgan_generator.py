"""The generator cellgan: exact counts, repeatability, kills, parity options and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_cellgan.generator import CellGAN
from ltbench_cellgan.options import TIERS
from ltbench_cellgan.training import CellTraining

import ltbench
from ltbench.errors import ContractError, DataError, NonFinite, UserError
from ltbench.interfaces import ImageTable
from ltbench.recipe import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options

torch.set_num_threads(1)


class Killed(Exception):
    """Stands for a signal."""


def spec(**given: Any) -> dict[str, Any]:
    return tiny_options("generator", "cellgan", **{"snapshot_kimg": 0, **given})


def fitted(folder: Path, protocol: dict[str, Any] | None = None, **given: Any) -> Any:
    context = tiny_context(folder, generator=spec(**given), protocol=protocol)
    generator = ltbench.build("generator", spec(**given))
    context.fit(generator, spec(**given))
    return generator


def sampled(generator: Any, counts: tuple[int, ...] = (3, 0, 4), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return generator.sample(np.array(counts), guide=None, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(("side", "drawn"), [(8, 8), (28, 28), (70, 32)])
def test_exact_counts_at_every_size(tmp_path: Path, side: int, drawn: int) -> None:
    generator = fitted(tmp_path, {"image_size": side, "stored_size": side}, max_size=32, kimg=0.01)
    images, labels = sampled(generator)
    assert images.shape == (7, drawn, drawn, 3) and images.dtype == np.uint8
    assert np.bincount(labels, minlength=3).tolist() == [3, 0, 4]
    assert set(generator.notes()) == {"saturated", "dropped", "stopped", "real_logit", "fake_logit"}
    assert sampled(generator, (0, 0, 0))[0].shape == (0, drawn, drawn, 3)


def test_images_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    generator = fitted(tmp_path)
    images, labels = sampled(generator)
    generator.options["sample_batch"] = 2
    assert np.abs(images.astype(int) - sampled(generator)[0].astype(int)).max() <= 1
    more, more_labels = sampled(generator, (5, 1, 4))
    difference = images[labels == 0].astype(int) - more[more_labels == 0][:3].astype(int)
    assert np.abs(difference).max() <= 1
    assert not np.array_equal(images, sampled(generator, seed=1)[0])


@pytest.mark.parametrize("moment", [1, 5])
def test_a_killed_fit_goes_on_bit_for_bit(tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"kimg": 0.064, "snapshot_kimg": 0.016}
    whole = fitted(tmp_path / "whole", **given)
    monkeypatch.setattr("ltbench.engine.fits.SAVE_EVERY", 0.0)
    step, steps = CellTraining.step, []

    def kill(self: CellTraining, i: int, *rest: Any) -> None:
        if i == moment and not steps:
            raise Killed
        step(self, i, *rest)

    monkeypatch.setattr(CellTraining, "step", kill)
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", **given)
    steps.append(moment)
    resumed = fitted(tmp_path / "killed", **given)
    assert np.array_equal(sampled(whole)[0], sampled(resumed)[0])
    assert whole.notes() == resumed.notes()


def test_a_broken_fit_without_a_snapshot_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = CellTraining.step

    def poisoned(self: CellTraining, i: int, *rest: Any) -> None:
        if i == 9:
            self.levels.fill_(torch.nan)
        step(self, i, *rest)

    monkeypatch.setattr(CellTraining, "step", poisoned)
    with pytest.raises(NonFinite, match=r"mean logits are nan.*before any good snapshot; lower generator.lr"):
        fitted(tmp_path / "a", kimg=0.2)
    generator = fitted(tmp_path / "b", kimg=0.2, snapshot_kimg=0.064)
    assert "kept the snapshot after 0.064 thousand images" in caplog.text
    assert generator.notes()["stopped"] == 1.0 and len(sampled(generator)[0]) == 7


def test_flips_follow_the_protocol(tmp_path: Path) -> None:
    generator = CellGAN()
    context = tiny_context(tmp_path, protocol={"augment": {"flip": True, "vertical_flip": False}})
    assert {k: generator.resolved({"hflip": None, "vflip": None}, context)[k] for k in ("hflip", "vflip")} == {
        "hflip": True,
        "vflip": False,
    }
    assert generator.resolved({"hflip": False, "vflip": True}, context) == {"hflip": False, "vflip": True}


def test_a_class_without_images_and_wrong_counts(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, generator=spec())
    table = context.train
    kept = table.labels != 1
    context.train = ImageTable(table.images[kept], table.labels[kept], table.ids[kept], table.groups[kept])
    with pytest.raises(DataError, match="class 'class-1' has no training image"):
        context.fit(ltbench.build("generator", spec()), spec())
    with pytest.raises(ContractError, match="counts must be 3 whole numbers >= 0"):
        sampled(fitted(tmp_path / "b", kimg=0.01), (1, 1))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", 24),
        ("max_size", 512),
        ("width", 0),
        ("kimg", 0),
        ("lr", -1),
        ("ema", 1),
        ("ema_start", -1),
        ("r1", float("inf")),
        ("r1_every", 0),
        ("label_power", 2),
        ("hflip", "yes"),
        ("misaligned_crops", None),
        ("stale_average", 1),
        ("context", "no"),
        ("class_norm", 1),
        ("start_gain", 0),
        ("snapshot_kimg", -1),
    ],
)
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"generator\.{option} must be"):
        ltbench.build("generator", "cellgan", **{option: value})


def test_parity_options_are_off_and_tiers_build() -> None:
    defaults = CellGAN().options
    assert not defaults["misaligned_crops"] and not defaults["stale_average"] and defaults["r1_every"] == 16
    assert defaults["class_norm"] and defaults["start_gain"] == 0.02
    for tier in TIERS.values():
        ltbench.build("generator", "cellgan", **tier)
    assert set(defaults) - CellGAN.fit_options == {"sample_batch"}
    assert resolve("cellgan", "digits-lt", "quick")[0].recipe["generator"]["name"] == "cellgan"
