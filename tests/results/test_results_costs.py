"""The cost card: parts add up to the whole, the front against brute force, budgets."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltbench.cli import main
from ltbench.errors import UserError
from ltbench.metrics import pareto_front
from ltbench.report.boards import boards
from ltbench.report.collect import collect
from ltbench.results import load_results
from ltbench.results.costs import PARTS, cost_card, part_of, within_budget
from ltbench.results.store import load_rows
from ltbench.results.tables import cards, tables

values = st.floats(0, 3).map(lambda x: round(x, 1))


@given(st.lists(st.tuples(values, values), max_size=12))
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    def dominated(cost: float, quality: float) -> bool:
        return any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)

    found = pareto_front([c for c, _ in points], [q for _, q in points])
    assert found.tolist() == [not dominated(c, q) for c, q in points]


def test_a_nan_is_on_no_front_and_dominates_nothing() -> None:
    assert pareto_front([1, np.nan, 2], [0.5, 0.9, 0.4]).tolist() == [True, False, False]
    assert pareto_front([1, 0.5], [0.5, np.nan]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("phase", "part"),
    [
        ("train", "training"),
        ("feedback", "training"),
        ("fit guided-ddpm/unet", "generator"),
        ("synthesis", "sampling"),
        ("fit reference-judge/epochs", "reference"),
        ("generation metrics", "evaluation"),
        ("test", "evaluation"),
        ("validation", "evaluation"),
        ("tuning", "tuning"),
        ("a phase of a later version", "other"),
    ],
)
def test_every_phase_has_its_part(phase: str, part: str) -> None:
    assert part_of(phase) == part


def spent(**phases: float) -> dict[str, object]:
    named = {name.replace("_", " "): {"seconds": s, "device_seconds": s, "cached": False} for name, s in phases.items()}
    return {"cost": {"phases": named, "total_seconds": sum(phases.values()), "peak_memory_bytes": 2**20}}


@pytest.fixture
def store(tmp_path, cell):
    for seed in range(2):
        cell("ce", seed, skill=0.8, record=spent(train=10.0 + seed, test=1.0))
        cell("iois", seed, skill=2.5, record=spent(**{"train": 20.0, "fit_ddpm/unet": 60.0, "synthesis": 5.0}))
        cell("slow", seed, skill=0.1, record=spent(train=500.0))
    return tmp_path


def test_parts_are_means_over_seeds_and_add_up(store) -> None:
    (table,) = json.loads(cards(cost_card, load_results(store), fmt="json"))
    rows = {row["method"]: row for row in table["rows"]}
    assert [row["method"] for row in table["rows"]] == ["ce", "iois", "slow"]
    assert rows["ce"]["training"] == 10.5 and rows["ce"]["evaluation"] == 1.0
    assert rows["iois"]["generator"] == 60.0 and rows["iois"]["sampling"] == 5.0
    for row in rows.values():
        assert sum(row[part] for part in PARTS) == pytest.approx(row["device_seconds"])
    assert [row["front"] for row in table["rows"]] == [True, True, False]


def test_tuning_and_unknown_phases_are_no_evaluation(tmp_path, cell) -> None:
    cell("ce", record=spent(train=10.0, tuning=40.0, something=3.0, test=1.0))
    (table,) = json.loads(cards(cost_card, load_results(tmp_path), fmt="json"))
    assert {part: table["rows"][0][part] for part in PARTS if table["rows"][0][part]} == {
        "training": 10.0,
        "evaluation": 1.0,
        "tuning": 40.0,
        "other": 3.0,
    }


def test_cost_of_foreign_predictions_is_unknown(store, cell, capsys) -> None:
    theirs = cell("theirs", 0, skill=3.0, cell={"external": True}, record={"cost": {}})
    assert math.isnan(theirs.row()["device_seconds"])
    (table,) = json.loads(cards(cost_card, load_results(store), fmt="json"))
    last = table["rows"][-1]
    assert last["method"] == "theirs" and not last["front"]
    assert {last[name] for name in ("device_seconds", *PARTS)} == {None}
    assert "theirs (external)" in cards(cost_card, load_results(store))
    assert main(["leaderboard", "--out", str(store), "--budget", "1000"]) == 0
    seen = capsys.readouterr()
    assert "theirs" not in seen.out and "left out by --budget 1000: theirs" in seen.err
    assert main(["leaderboard", "--out", str(store), "--methods", "theirs", "--budget", "1000"]) == 2
    assert "none has its cost on record" in capsys.readouterr().err
    (board,) = boards(collect([store])[0])
    line = next(line for line in board.lines if line.method == "theirs")
    shown = dict(zip((column.heading for column in board.columns), line.values, strict=True))
    assert shown["Device-seconds"].text == "n/a" and line.label == "theirs (external)"


def test_the_cost_card_marks_its_methods(tmp_path, cell) -> None:
    cell("a", data={"validation_is_test": True})
    cell("b", cell={"assumed": True})
    text = cards(cost_card, load_results(tmp_path))
    assert "a †" in text and "b (assumed)" in text and "† the validation part is the test part" in text


def test_a_budget_counts_the_newest_cells_of_what_was_asked_for(tmp_path, cell, capsys) -> None:
    """`ce` was dear before, `slow` is dear on one data set, and only a protocol nobody asked for is cheap."""
    cell("ce", record=spent(train=900.0), cell={"versions": {"loss:ce": 1}})
    cell("ce", record=spent(train=10.0), cell={"versions": {"loss:ce": 2}})
    cell("slow", record=spent(train=900.0))
    cell("slow", dataset="aptos", record=spent(train=20.0))
    cell("focal", record=spent(train=900.0))
    cell("focal", protocol="standard", record=spent(train=5.0))
    where = ["leaderboard", "--out", str(tmp_path), "--budget", "50", "--format", "json"]
    assert main([*where, "--protocol", "quick"]) == 0
    seen = capsys.readouterr()
    found = {table["rows"][0]["dataset"]: [row["method"] for row in table["rows"]] for table in json.loads(seen.out)}
    assert found == {"aptos": ["slow"], "digits-lt": ["ce"]}
    assert "left out by --budget 50: focal, slow on digits-lt, protocol quick" in seen.err
    assert main([*where, "--protocol", "quick", "--methods", "focal"]) == 2
    assert "no method here costs at most 50 device-seconds a cell; the cheapest costs 900.0" in capsys.readouterr().err
    assert main([*where, "--protocol", "quack"]) == 2
    assert "no stored result has the protocol 'quack'" in capsys.readouterr().err


def test_a_budget_leaves_landmarks_where_they_are(tmp_path, cell, capsys) -> None:
    cell("ce", protocol="p", record=spent(train=10.0))
    leak = cell("ce", protocol="p-as-released", skill=2.0, record=spent(train=900.0))
    words = ["--budget", "50", "--protocol", "p", "--published", "--format", "json", "--no-statistics"]
    assert main(["leaderboard", "--out", str(tmp_path), *words]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert table["rows"][0]["as_released"] == pytest.approx(leak.metrics["macro_f1"])


def test_unknown_seconds_stand_last_in_any_order_of_input(tmp_path, cell) -> None:
    for method, seconds in (("a", None), ("b", 5.0), ("c", None), ("d", 1.0), ("e", 3.0)):
        cell(method, record={"cost": {"phases": {}, "total_seconds": seconds}})
    rows = load_rows(tmp_path)
    for order in itertools.permutations(rows):
        records = tables(order, sort="seconds", statistics=False)[0].records
        assert [r["seconds"] for r in records[:3]] == [1.0, 3.0, 5.0]


def test_a_budget_keeps_what_it_can_pay(store, capsys) -> None:
    assert {row["method"] for row in within_budget(load_results(store), 100)} == {"ce", "iois"}
    assert main(["leaderboard", "--out", str(store), "--budget", "50", "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in table["rows"]] == ["ce"]
    assert main(["leaderboard", "--out", str(store), "--budget", "50"]) == 0
    assert "left out by --budget 50: iois, slow" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no method here costs at most 2 .* the cheapest costs 11\.5"):
        within_budget(load_results(store), 2)
    for bad in (0, -1, float("nan")):
        with pytest.raises(UserError, match="--budget must be a positive number"):
            within_budget(load_results(store), bad)


def test_costs_and_order_on_the_command_line(store, capsys) -> None:
    assert main(["leaderboard", "--out", str(store), "--costs", "--metric", "mcc"]) == 0
    out = capsys.readouterr().out
    assert "device-seconds" in out and "mcc" in out and "peak MiB" in out
    assert main(["leaderboard", "--out", str(store), "--sort", "seconds", "--format", "json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)[0]["rows"]] == ["ce", "iois", "slow"]
    assert main(["leaderboard", "--out", str(store), "--costs", "--dataset", "aptoss"]) == 2
    assert "no stored result has the dataset 'aptoss'" in capsys.readouterr().err
