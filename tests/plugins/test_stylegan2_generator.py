"""The generators stylegan2 and stylegan2-ada: exact counts, repeatability, kills, snapshots, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_stylegan2 import options
from ltbench_stylegan2.augment import Controller, Pipeline
from ltbench_stylegan2.training import StyleGAN2Training as Training

import ltbench
from ltbench.errors import ContractError, DataError, NonFinite, UserError
from ltbench.interfaces import ImageTable
from ltbench.models.frames import Frame
from ltbench.recipe import resolve
from ltbench.testing import tiny_context
from ltbench.testing.tiny import tiny_options

torch.set_num_threads(1)


class Killed(Exception):
    """Stands for a signal."""


def spec(id: str = "stylegan2", **given: Any) -> dict[str, Any]:
    return tiny_options("generator", id, **{"snapshot_kimg": 0, "path_weight": 2.0, "style_mixing": 0.9, **given})


def fitted(folder: Path, id: str = "stylegan2", protocol: dict[str, Any] | None = None, **given: Any) -> Any:
    section = spec(id, **given)
    context = tiny_context(folder, generator=section, protocol=protocol)
    generator = ltbench.build("generator", section)
    context.fit(generator, section)
    return generator


def draw(generator: Any, counts: tuple[int, ...] = (3, 0, 4), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return generator.sample(np.array(counts), guide=None, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(("side", "drawn"), [(8, 8), (12, 16), (28, 28), (70, 32)])
def test_exact_counts_at_every_size(tmp_path: Path, side: int, drawn: int) -> None:
    protocol = {"image_size": side, "stored_size": side}
    images, labels = draw(fitted(tmp_path, protocol=protocol, max_size=32, kimg=0.01))
    assert images.dtype == np.uint8 and images.shape == (7, drawn, drawn, 3)
    assert labels.dtype == np.int64 and np.bincount(labels, minlength=3).tolist() == [3, 0, 4]


def test_no_images_at_all(tmp_path: Path) -> None:
    images, labels = draw(fitted(tmp_path), (0, 0, 0))
    assert images.shape == (0, 16, 16, 3) and len(labels) == 0


def test_images_depend_on_seed_class_and_number_alone(tmp_path: Path) -> None:
    generator = fitted(tmp_path)
    for conv in generator.network.synthesis.convs:
        conv.strength.data.fill_(0.5)  # noise counts
    images, labels = draw(generator, (3, 2, 4))
    generator.options["sample_batch"] = 2
    parts, _ = draw(generator, (3, 2, 4))
    assert np.abs(images.astype(int) - parts.astype(int)).max() <= 1
    more, more_labels = draw(generator, (5, 0, 6))
    for k, n in ((0, 3), (2, 4)):
        same, other = images[labels == k][:n], more[more_labels == k][:n]
        assert np.abs(same.astype(int) - other.astype(int)).max() <= 1
    assert not np.array_equal(images, draw(generator, (3, 2, 4), seed=1)[0])
    assert set(generator.notes()) == {"saturated", "dropped", "stopped", "ada_p"}


@pytest.mark.parametrize("id", ["stylegan2", "stylegan2-ada"])
@pytest.mark.parametrize("moment", [1, 5])
def test_a_killed_fit_goes_on_bit_for_bit(
    tmp_path: Path, id: str, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"kimg": 0.064, "snapshot_kimg": 0.016, "ada_kimg": 0.05}  # 8 steps, 4 snapshots
    whole = draw(fitted(tmp_path / "whole", id, **given))
    monkeypatch.setattr("ltbench.engine.fits.SAVE_EVERY", 0.0)
    step = Training.step

    def kill(self: Training, i: int, *rest: Any) -> None:
        if i == moment:
            raise Killed
        step(self, i, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", kill)
        with pytest.raises(Killed):
            fitted(tmp_path / "killed", id, **given)
    steps = []

    def count(self: Training, i: int, *rest: Any) -> None:
        steps.append(i)
        step(self, i, *rest)

    monkeypatch.setattr(Training, "step", count)
    resumed = fitted(tmp_path / "killed", id, **given)
    assert steps == list(range(moment, 8))
    assert np.array_equal(whole[0], draw(resumed)[0])
    again = fitted(tmp_path / "killed", id, **given)
    assert steps == list(range(moment, 8))  # found in the cache
    assert np.array_equal(whole[0], draw(again)[0]) and again.notes() == resumed.notes()


def test_the_fit_does_not_depend_on_the_global_generator(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = draw(fitted(tmp_path / "a"))[0]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = draw(fitted(tmp_path / "b"))[0]
    assert np.array_equal(first, second) and len(state)


def test_the_best_snapshot_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distances = iter([3.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr("ltbench.models.snapshots.frechet_from_features", lambda a, b: next(distances))
    seen: dict[int, torch.Tensor] = {}
    step = Training.step

    def watch(self: Training, i: int, *rest: Any) -> None:
        step(self, i, *rest)
        seen[i] = self.average.synthesis.start.detach().clone()

    monkeypatch.setattr(Training, "step", watch)
    generator = fitted(tmp_path, kimg=0.064, snapshot_kimg=0.016)
    notes = generator.notes()
    assert (notes["snapshot_kimg"], notes["snapshot_distance"], notes["stopped"]) == (0.032, 1.0, 0.0)
    assert torch.equal(generator.network.synthesis.start, seen[3])
    assert not torch.equal(generator.network.synthesis.start, seen[7])


def test_a_collapse_keeps_the_last_good_snapshot_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = Training.step

    def poisoned(self: Training, i: int, *rest: Any) -> None:
        if i == 4:
            with torch.no_grad():
                self.g.synthesis.start.fill_(torch.nan)
        step(self, i, *rest)

    monkeypatch.setattr(Training, "step", poisoned)
    generator = fitted(tmp_path / "a", kimg=0.096, snapshot_kimg=0.032)
    assert "loss is nan at iteration 7; kept the snapshot after 0.032 thousand images" in caplog.text
    images, _ = draw(generator)
    assert len(images) == 7 and generator.notes()["stopped"] == 1.0
    with pytest.raises(NonFinite, match=r"loss is nan .* before any good snapshot; raise generator.gamma"):
        fitted(tmp_path / "b", kimg=0.096, snapshot_kimg=0)


def test_truncation_moves_towards_the_class(tmp_path: Path) -> None:
    generator = fitted(tmp_path, noise="const", kimg=0.02)
    full = draw(generator, (2, 2, 2))[0]
    generator.options["truncation"] = 0.0
    mean, labels = draw(generator, (2, 2, 2))
    for k in range(3):
        same = mean[labels == k].astype(int)
        assert np.abs(same[0] - same[1]).max() <= 1  # one image a class
    assert np.abs(mean[0].astype(int) - mean[2].astype(int)).max() > 1  # which differs between classes
    generator.options["truncation_centre"] = "global"
    shared = draw(generator, (2, 2, 2))[0].astype(int)
    assert np.abs(shared - shared[:1]).max() <= 1
    generator.options.update(truncation=1.0)
    assert np.array_equal(draw(generator, (2, 2, 2))[0], full)
    generator.options.update(truncation=0.5, truncation_cutoff=2, truncation_centre="class")
    assert not np.array_equal(draw(generator, (2, 2, 2))[0], full)


def test_flips_and_turns_only_where_the_protocol_allows_them(tmp_path: Path) -> None:
    for flip, name in ((True, "bgc"), (False, "xint+scale+aniso+xfrac+c")):
        context = tiny_context(tmp_path / str(flip), generator=spec(), protocol={"augment": {"flip": flip}})
        generator = ltbench.build("generator", spec("stylegan2-ada"))
        generator.frame = Frame(16, 16)
        assert generator.fit_values(context)["pipeline"] == name
        chosen = ltbench.build("generator", spec("stylegan2-ada", pipeline="c"))
        chosen.frame = generator.frame
        assert chosen.fit_values(context)["pipeline"] == "c"


def test_automatic_values() -> None:
    expected = {(8, 32): 0.0004, (16, 32): 0.0016, (32, 32): 0.0064, (64, 32): 0.0256, (128, 32): 0.1024}
    for (size, batch), gamma in {**expected, (256, 16): 0.8192}.items():
        assert options.auto_gamma(size, batch) == pytest.approx(gamma)
    assert [options.auto_ada_kimg(k) for k in (20, 100, 25_000)] == [10, 15, 500]


@pytest.mark.parametrize(
    ("id", "given", "adaptive"),
    [("stylegan2", {}, False), ("stylegan2", {"ada": True}, True), ("stylegan2-ada", {}, True)],
)
def test_adaptive_augmentation_is_the_second_id_or_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id: str, given: dict[str, Any], adaptive: bool
) -> None:
    def towards_the_ceiling(self: Controller, logits: torch.Tensor) -> None:
        self.signs, self.seen = self.signs + len(logits), self.seen + len(logits)  # every real image told apart

    monkeypatch.setattr(Controller, "observe", towards_the_ceiling)
    seen = []
    warp = Pipeline.__call__
    monkeypatch.setattr(Pipeline, "__call__", lambda self, x, p: (seen.append(p), warp(self, x, p))[1])
    fitted(tmp_path, id, kimg=0.064, ada_kimg=0.08, **given)
    assert sorted(set(seen)) == pytest.approx([0.4] if adaptive else [])  # p rises after 4 of 8 steps


def test_only_sampling_options_share_a_fit() -> None:
    generator = ltbench.build("generator", "stylegan2")
    assert set(generator.options) - generator.fit_options == options.SAMPLING
    for tier in options.TIERS.values():
        ltbench.build("generator", "stylegan2-ada", **tier)


def test_options_of_sampling_do_not_choose_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Training.step

    def noisy(self: Training, i: int, *rest: Any) -> None:
        step(self, i, *rest)
        for conv in self.average.synthesis.convs:
            conv.strength.data.fill_(0.5)  # so that noise counts

    monkeypatch.setattr(Training, "step", noisy)
    ways: tuple[dict[str, Any], ...] = ({}, {"noise": "none"}, {"noise": "const"}, {"truncation": 0.2})
    distances = [
        fitted(tmp_path / str(i), kimg=0.02, snapshot_kimg=0.02, **way).notes()["snapshot_distance"]
        for i, way in enumerate(ways)
    ]
    assert len(set(distances)) == 1


def test_a_class_without_images_is_an_error(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, generator=spec())
    kept = context.train.labels != 2
    table = context.train
    context.train = ImageTable(table.images[kept], table.labels[kept], table.ids[kept], table.groups[kept])
    with pytest.raises(DataError, match="class 'class-2' has no training image"):
        context.fit(ltbench.build("generator", spec()), spec())


def test_wrong_counts(tmp_path: Path) -> None:
    generator = fitted(tmp_path)
    for counts in ((1, 1), (1, -1, 1)):
        with pytest.raises(ContractError, match="counts must be 3 whole numbers >= 0"):
            draw(generator, counts)


def test_a_constant_generator_is_an_error(tmp_path: Path) -> None:
    generator = fitted(tmp_path)
    for layer in generator.network.synthesis.images:
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    with pytest.raises(NonFinite, match="collapsed generator"):
        draw(generator)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", 48),
        ("max_size", 4),
        ("base", 4),
        ("latent", 0),
        ("layers", 1.5),
        ("kimg", 0),
        ("train_batch", 30),
        ("lr", float("nan")),
        ("gamma", -1),
        ("style_mixing", 1.1),
        ("ema_ramp", 2),
        ("label_power", -0.5),
        ("ada_target", 1),
        ("ada_ceiling", 0.9),
        ("ada", "yes"),
        ("hflip", 3),
        ("pipeline", "warp"),
        ("truncation", -0.1),
        ("truncation_cutoff", 0),
        ("truncation_centre", "mean"),
        ("noise", "some"),
        ("snapshot_kimg", -1),
        ("snapshot_images", 0),
    ],
)
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"generator\.{option} must"):
        ltbench.build("generator", "stylegan2", **{option: value})


def test_the_method_takes_its_quota_from_the_protocol() -> None:
    recipe = resolve("stylegan2-ada", "digits-lt", "quick")[0].recipe
    assert recipe["sampler"]["name"] == "fixed-quota" and recipe["sampler"]["ratio"] == 0.2
    assert (
        recipe["generator"]["name"] == "stylegan2-ada" and recipe["generator"]["kimg"] == options.TIERS["tiny"]["kimg"]
    )
