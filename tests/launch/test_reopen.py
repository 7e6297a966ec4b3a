"""A finished cell with kept weights predicts what it predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ltbench_diffmic.trajectories import draw, main, states_of
from PIL import Image

import ltbench
from ltbench.engine.evaluate import Evaluator
from ltbench.errors import CheckpointError, UserError
from ltbench.launch.reopen import reopen

FAST = {"protocol.epochs": 1, "protocol.max_train": 60}
CHAIN = {"classifier.steps": 3, "classifier.width": 16, "classifier.epoch_factor": 1, "classifier.warmup_epochs": 1}


def cell(tmp_path: Path, method: str, keep: bool = True, **more: object) -> Path:
    overrides = {**FAST, **more}
    result = ltbench.run(
        method=method, dataset="digits-lt", protocol="quick", overrides=overrides, out=tmp_path, keep_model=keep
    )
    return Path(result.folder)


def test_a_reopened_cell_predicts_the_same(tmp_path: Path) -> None:
    folder = cell(tmp_path, "ce", **{"dataset.imbalance": 30})
    context, classifier = reopen(folder, report=lambda text: None)
    stored = np.load(folder / "predictions.npz")
    np.testing.assert_array_equal(stored["val_ids"], context.val.ids)
    probs = Evaluator(classifier, context).predict(context.val.images, "val")
    np.testing.assert_allclose(probs, stored["val_probs"], atol=1e-6)


def test_a_cell_without_weights_says_how_to_keep_them(tmp_path: Path) -> None:
    folder = cell(tmp_path, "ce", keep=False)
    with pytest.raises(UserError, match=r"keeps no weights.*--force --keep-model"):
        reopen(folder)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unfinished"):
        reopen(tmp_path)


def test_the_steps_of_a_diffmic_cell_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cell(tmp_path, "diffmic", **CHAIN)
    states, labels, names = states_of(folder)
    assert states.shape == (4, len(labels), 10) and len(names) == 10
    stored = np.load(folder / "predictions.npz")
    assert (states[-1].argmax(1) == stored["val_probs"].argmax(1)).mean() > 0.99
    draw(states, labels, names, tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").size[0] > 1000
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f"{folder / 'trajectories.png'}\n")
    assert (folder / "trajectories.png").read_bytes() == (tmp_path / "map.png").read_bytes()
    assert main([str(cell(tmp_path, "ce")), "--out", str(tmp_path / "no.png")]) == 2
    assert "holds no chain of diffmic" in capsys.readouterr().err
