"""Classes that a data set groups itself: from the command line to the tables and their proof."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from ltbench.cli import main
from ltbench.recipe import resolve
from ltbench.results import load_results, read_result
from ltbench.results.verify import verify

COUNTS = {"a": 30, "b": 20, "c": 10}
QUICK = ["--set", "protocol.epochs=1", "--set", "protocol.image_size=16", "--all"]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (tmp_path / "own" / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                tmp_path / "own" / name / f"{k}.png"
            )
    return tmp_path / "own"


def run(folder, tmp_path, groups):
    options = ["--set", f"dataset.shot_groups={json.dumps(groups)}", *QUICK[:-1]]
    return main(["run", "--method", "ce", "--dataset", f"folder:{folder}", "--out", str(tmp_path / "runs"), *options])


def test_own_groups_reach_metrics_tables_and_proof(folder, tmp_path, capsys):
    assert run(folder, tmp_path, {"scheme": "rank", "sizes": [1, 1, 1]}) == 0
    cell = load_results(tmp_path / "runs").iloc[0]
    result = read_result(cell["folder"])
    recall = result.metrics["per_class_recall"]
    found = [result.metrics[f"{name}_accuracy"] for name in ("many", "medium", "few")]
    assert result.data["data"]["train_counts"] == [21, 14, 7] and found == pytest.approx(recall)
    assert result.data["data"]["shot_groups"] == {"scheme": "rank", "sizes": [1, 1, 1]}
    assert verify(result.folder) == []
    capsys.readouterr()
    for view, words in (
        (["--tail"], "recall of groups of classes that the data set names"),
        (["--metric", "few_accuracy"], f"{100 * recall[2]:.2f}"),
    ):
        assert main(["leaderboard", "--out", str(tmp_path / "runs"), "--all", *view]) == 0
        assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"scheme": "rank", "sizes": [2, 4, 2]}, "sum to 3 classes"),
        ("lt9", "unknown class groups 'lt9'"),
        ({"few": [3]}, "each class of 0..2"),
        ({"few": ["z"]}, "dataset.shot_groups does not fit: class groups are told by lists of whole numbers"),
    ],
)
def test_groups_that_do_not_fit_are_refused_before_anything_is_trained(folder, tmp_path, capsys, groups, words):
    assert run(folder, tmp_path, groups) != 0
    assert words in capsys.readouterr().err and not list((tmp_path / "runs").rglob("result.json"))


def test_lists_may_name_classes(folder):
    _, made = resolve("ce", f"folder:{folder}", "quick", 0, {"dataset.shot_groups": {"many": ["c", "a"], "few": ["b"]}})
    assert made.shot_groups == {"many": [2, 0], "few": [1]}


def test_groups_join_the_recipe_only_where_they_are_given_and_the_name_as_a_hash(folder, tmp_path):
    path = f"folder:{folder}"
    plain, given = (
        resolve("ce", path, "quick", 0, options)[0]
        for options in ({}, {"dataset.shot_groups": {"many": list(range(3))}})
    )
    assert "shot_groups" not in plain.recipe["dataset"] and plain.dataset == "folder+path=own"
    assert given.recipe["dataset"]["shot_groups"] == {"many": [0, 1, 2]}
    assert re.fullmatch(r"folder\+path=own\+shot_groups=[0-9a-f]{8}", given.dataset)
