"""The cost card: parts add up to the whole, the front against brute force, budgets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltbench.cli import main
from ltbench.errors import UserError
from ltbench.metrics import pareto_front
from ltbench.results import load_results
from ltbench.results.costs import PARTS, cost_card, part_of, within_budget

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
    (table,) = json.loads(cost_card(load_results(store), fmt="json"))
    rows = {row["method"]: row for row in table["rows"]}
    assert [row["method"] for row in table["rows"]] == ["ce", "iois", "slow"]
    assert rows["ce"]["training"] == 10.5 and rows["ce"]["evaluation"] == 1.0
    assert rows["iois"]["generator"] == 60.0 and rows["iois"]["sampling"] == 5.0
    for row in rows.values():
        assert sum(row[part] for part in PARTS) == pytest.approx(row["device_seconds"])
    assert [row["front"] for row in table["rows"]] == [True, True, False]


def test_cost_of_foreign_predictions_is_unknown(store, cell) -> None:
    cell("theirs", 0, skill=3.0, cell={"external": True}, record={"cost": {}})
    (table,) = json.loads(cost_card(load_results(store), fmt="json"))
    last = table["rows"][-1]
    assert last["method"] == "theirs" and last["device_seconds"] is None and not last["front"]
    assert "theirs" in cost_card(load_results(store))


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
