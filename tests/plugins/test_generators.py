"""What every generator of the catalogue does with bad input, without memory, and after it was killed in any phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.engine import fits
from ltbench.errors import ContractError, DataError
from ltbench.models import drawing
from ltbench.plugins import plugins
from ltbench.testing.tiny import tiny_context, tiny_options

BASE = {"name": "ddpm", "widths": [8, 8], "attention": 0, "train_steps": 3, "train_batch": 8, "steps": 2}
QUICK: dict[str, dict[str, Any]] = {
    "selective": {"base": BASE},
    "skin-sdm": {"train_steps": 3, "train_batch": 4, "warmup": 1, "steps": 3, "rank": 2, "size": None},
}
NAMES = plugins().registry.names("generator")
DRAWERS = (
    "ltbench.models.adversarial",
    "ltbench_diffusion.conditional",
    "ltbench_diffusion.guided",
    "ltbench_histodiffusion.generator",
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Tiny options of a generator; skin-sdm with random weights that diffusers saved."""
    weights: list[str] = []

    def options(name: str, **given: Any) -> dict[str, Any]:
        if name == "skin-sdm":
            pytest.importorskip("transformers")
            if not weights:
                from tiny_stable_diffusion import save_pipeline

                weights.append(str(save_pipeline(tmp_path_factory.mktemp("stable-diffusion"))))
            given["weights"] = weights[0]
        return tiny_options("generator", name, **QUICK.get(name, {}), **given)

    return options


def fitted(folder: Path, spec: dict[str, Any], keep: Any = None) -> Any:
    """A generator fitted on the tiny training images, on those where `keep(labels)` says so."""
    context = tiny_context(folder, generator=spec)
    if keep is not None:
        context.train = context.train.take(np.flatnonzero(keep(context.train.labels)))
        counts = np.bincount(context.train.labels, minlength=3)
        context.task = replace(context.task, class_counts=counts)
        context._train_key = str(counts)
    return context.fit_generator(spec)


def draw(generator: Any, counts: Any = (2, 0, 3)) -> tuple[np.ndarray, np.ndarray]:
    return generator.sample(np.array(counts), guide=None, rng=np.random.default_rng(0))


class Killed(BaseException):
    """In place of kill -9: nothing catches it."""


@pytest.mark.parametrize("name", NAMES)
def test_killed_after_every_checkpoint(name: str, spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process lives for one step; all together end where an uninterrupted fit does."""
    whole = fitted(tmp_path / "whole", spec(name))
    save, killed = fits.checkpoint.save, []

    def die(path: Path, owner: str, state: Any) -> None:
        save(path, owner, state)
        if path.name == "progress.pt":
            killed.append(owner)
            raise Killed

    monkeypatch.setattr(fits, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(fits.checkpoint, "save", die)
    steps = 0
    for _ in range(100):
        try:
            resumed = fitted(tmp_path / "killed", spec(name))
            break
        except Killed:
            steps += 1
    phases = {path.parent.name for path in (tmp_path / "whole").glob("fits/*/state.pt")}
    assert set(killed) == phases == {path.parent.name for path in (tmp_path / "killed").glob("fits/*/state.pt")}
    assert steps == len(killed) >= 2 * len(phases) and bool(phases) == (name != "real-copies")
    assert all(np.array_equal(a, b) for a, b in zip(draw(whole), draw(resumed), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_with_one_image_is_learned(name: str, spec: Any, tmp_path: Path) -> None:
    generator = fitted(tmp_path, spec(name), lambda labels: (labels < 2) | (np.cumsum(labels == 2) == 1))
    _, labels = draw(generator, (1, 1, 2))
    made = np.bincount(labels, minlength=3)
    assert made.tolist() == [1, 1, 2] if generator.exact else (made <= [1, 1, 2]).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_an_image_is_named(name: str, spec: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 'class-2' has no training image"):
        draw(fitted(tmp_path, spec(name), lambda labels: labels < 2), (1, 1, 1))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_numbers_of_images(name: str, spec: Any, tmp_path: Path) -> None:
    generator = fitted(tmp_path, spec(name))
    for counts in ((1, -1, 2), (1, 2), (1, 2, 3, 0), (0.5, 1.0, 1.0)):
        with pytest.raises(ContractError, match=r"counts must be 3 whole numbers >= 0, one a class, got \["):
            draw(generator, counts)
    images, labels = draw(generator, (0, 0, 0))
    assert images.shape[0] == len(labels) == 0 and images.shape[3] == 3


@pytest.mark.parametrize("name", [name for name in NAMES if name != "real-copies"])
def test_a_cpu_draws_no_more_at_once_than_it_does_fast(
    name: str, spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, asked = fitted(tmp_path, spec(name)), []

    def noted(n: int, shape: Any, run: Any, *, batch: int, hint: str) -> Any:
        asked.append(batch)
        return drawing.draw_images(n, shape, run, batch=batch, hint=hint)

    for module in DRAWERS:
        monkeypatch.setattr(f"{module}.draw_images", noted)
    draw(generator)
    before = len(asked)
    monkeypatch.setattr(drawing, "CPU_PIXELS", 1)
    draw(generator)
    assert min(asked[:before]) > 1 and set(asked[before:]) == {1}


@pytest.mark.parametrize(
    ("name", "given"),
    [*((name, {}) for name in NAMES if name != "real-copies"), ("guided-ddpm", {"eta": 1.0}), ("ddpm", {"cfg": 2.0})],
)
def test_images_are_the_same_where_memory_ends(
    name: str, given: dict[str, Any], spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to one grey level: sums over a batch have no fixed order."""
    generator = fitted(tmp_path, spec(name, **given))
    expected, notes, sizes = draw(generator), generator.notes(), []

    def scarce(n: int, shape: Any, run: Any, **rest: Any) -> Any:
        def limited(rows: np.ndarray, attempt: int) -> Any:
            x = run(rows, attempt)  # memory ends late, when random numbers are drawn
            sizes.append(len(rows))
            if len(rows) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return x

        return drawing.draw_images(n, shape, limited, **rest)

    for module in DRAWERS:
        monkeypatch.setattr(f"{module}.draw_images", scarce)
    images, labels = draw(generator)
    assert max(sizes) > 2 and min(sizes) <= 2
    assert np.array_equal(labels, expected[1])
    assert np.abs(images.astype(int) - expected[0].astype(int)).max(initial=0) <= 1
    assert generator.notes().keys() == notes.keys()
