"""Validation minus test, method by method."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest

from ltbench.cli import main
from ltbench.errors import UnknownName
from ltbench.results import load_results, read_result
from ltbench.results.files import atomic_write
from ltbench.results.gaps import gap_card, looks
from ltbench.results.tables import cards


def scored(root, cell, method, seed, gap, history):
    """A cell whose validation Macro-F1 lies above that of its test part by `gap`, with these lines of history."""
    test = cell(method, seed).metrics
    higher = {**test, "macro_f1": test["macro_f1"] + gap}
    made = cell(method, seed, record={"metrics": {"test": test, "val": higher, "generation": {}}})
    atomic_write(made.folder / "history.jsonl", "".join(json.dumps(line) + "\n" for line in history))
    return made


def test_the_gap_of_each_method_with_its_spread_and_the_number_of_looks(tmp_path, cell):
    plain = [{"stage": "train", "epoch": k, "val_score": 0.5 if k < 4 else None} for k in range(6)]
    plain += [{"stage": "warm-up", "epoch": k, "val_score": 0.5} for k in range(3)]
    searched = [{"stage": "train", "val_score": 0.5, "candidate_scores": [0.4, 0.5, None]} for _ in range(4)]
    for seed, gap in enumerate((0.02, 0.04, 0.09)):
        scored(tmp_path, cell, "rl", seed, gap, searched)
        scored(tmp_path, cell, "ce", seed, -gap, plain)
    table = json.loads(cards(gap_card, load_results(tmp_path), fmt="json"))[0]
    found = {row["method"]: row for row in table["rows"]}
    assert [row["method"] for row in table["rows"]] == ["rl", "ce"]
    assert found["rl"]["gap_mean"] == pytest.approx(0.05) and found["ce"]["gap_mean"] == pytest.approx(-0.05)
    assert found["rl"]["gap_sd"] == pytest.approx(statistics.stdev([0.02, 0.04, 0.09]))
    assert (found["rl"]["looks"], found["ce"]["looks"]) == (8, 4)
    text = cards(gap_card, load_results(tmp_path))
    assert "+5.00 ± 3.61" in text and "-5.00 ± 3.61" in text and "compare rows" in text


def test_a_cell_without_history_has_a_gap_and_no_number_of_looks(tmp_path, cell):
    made = cell("ce")
    (made.folder / "history.jsonl").unlink()
    assert np.isnan(looks(read_result(made.folder)))
    row = json.loads(cards(gap_card, load_results(tmp_path), fmt="json"))[0]["rows"][0]
    assert row["gap_mean"] == 0 and row["looks"] is None


def test_cells_behind_all_are_counted(tmp_path, cell, capsys):
    cell("ce")
    cell("sqrt", cell={"standard": False})
    assert main(["leaderboard", "--out", str(tmp_path)]) == 0
    assert "1 cell with overridden options not shown; --all shows them" in capsys.readouterr().err
    assert main(["leaderboard", "--all", "--format", "csv", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out.count("\n") == 3


def test_a_metric_of_the_test_part_alone_is_refused(tmp_path, cell, capsys):
    cell("ce")
    with pytest.raises(UnknownName, match=r"none of these rows has val\.generation\.n: .*no validation part"):
        cards(gap_card, load_results(tmp_path), "generation.n", also=["val.generation.n"])
    assert main(["leaderboard", "--gap", "--sort", "seconds", "--out", str(tmp_path)]) == 2
    assert "--gap does not go with --sort" in capsys.readouterr().err
    assert main(["leaderboard", "--gap", "--metric", "mcc", "--out", str(tmp_path)]) == 0
    assert "validation mcc" in capsys.readouterr().out
