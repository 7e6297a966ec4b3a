"""A paper's table beside ours: order, numbers, stand-ins, as-released columns."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ltbench import suites
from ltbench.cli import main
from ltbench.errors import UserError
from ltbench.results import load_results
from ltbench.results.store import load_rows
from ltbench.results.suite_tables import suite_tables
from ltbench.results.tables import tables
from ltbench.suites import Suite

IOIS = Suite(
    name="iois2024_table1",
    title="IOIS, table 1",
    source="paper",
    protocol="iois2024",
    datasets=("aptos",),
    seeds="0",
    rows=(("CE Loss", "ce"), ("Sqrt-RS", "sqrt"), ("Ours (+OIS+AAS)", "iois")),
    controls=(("copies", "oversample-matched"),),
    published="IOIS-MICCAI2024/Table1",
)


def rows_of(suite: Suite, root, **options):
    return json.loads(suite_tables(suite, load_results(root), published=True, fmt="json", **options))


def test_rows_stand_in_the_papers_order_with_its_numbers(tmp_path, cell) -> None:
    ours = [cell("iois", seed, dataset="aptos", protocol="iois2024", imbalance=None) for seed in (0, 1)]
    cell("ce", dataset="aptos", protocol="iois2024", imbalance=None)
    (table,) = rows_of(IOIS, tmp_path)
    assert [row["row"] for row in table["rows"]] == ["CE Loss", "Sqrt-RS", "Ours (+OIS+AAS)", "copies"]
    last = table["rows"][2]
    mean = sum(r.metrics["macro_f1"] for r in ours) / 2
    assert last["seeds"] == 2 and last["macro_f1_mean"] == pytest.approx(mean)
    assert last["macro_f1_published"] == pytest.approx(0.7302)
    assert last["macro_f1_difference"] == pytest.approx(mean - 0.7302)
    assert last["mcc_published"] == pytest.approx(0.8076)
    assert table["rows"][1]["macro_f1_mean"] is None and table["rows"][3]["macro_f1_published"] is None
    text = suite_tables(IOIS, load_results(tmp_path), published=True)
    assert "not run" in text and "73.02" in text and f"{100 * (mean - 0.7302):+.2f}" in text
    assert "landmark" not in text and "2 rows of 4 not measured" in text
    assert "73.02" not in suite_tables(IOIS, load_results(tmp_path))


def test_another_protocol_is_a_landmark_and_another_data_set_no_difference(tmp_path, cell) -> None:
    cell("ce", dataset="aptos", protocol="quick")
    (table,) = rows_of(IOIS, tmp_path)
    assert any("landmark, no target" in text for text in table["notes"]) and "protocol quick" in table["title"]
    (ours,) = rows_of(Suite(**{**vars(IOIS), "stands_for": {"aptos": "ham10000"}}), tmp_path)
    first = ours["rows"][0]
    assert first["macro_f1_published"] == pytest.approx(0.7778) and first["macro_f1_difference"] is None
    assert any("aptos stands in and is not comparable" in text for text in ours["notes"])
    assert "ours - paper" not in suite_tables(
        Suite(**{**vars(IOIS), "stands_for": {"aptos": "ham10000"}}), load_results(tmp_path), published=True
    )


def test_a_data_set_that_the_paper_does_not_have_is_named(tmp_path, cell) -> None:
    cell("ce", dataset="breastmnist")
    text = suite_tables(IOIS, load_results(tmp_path), dataset="breastmnist", published=True)
    assert "the paper prints nothing for breastmnist" in text and "landmark" not in text
    header = next(line for line in text.splitlines() if line.lstrip().startswith("row of the paper"))
    assert header.split()[4:] == ["method", "seeds", "macro_f1", "balanced_accuracy", "mcc"]  # as on its own data


def test_what_cannot_be_had_is_the_papers_table_alone(tmp_path, cell) -> None:
    suite = suites.load(str(Path(__file__).parents[2] / "benchmarks" / "breast2025_table1.py"))
    cell("ce", dataset="breastmnist")
    here, theirs = rows_of(suite, tmp_path)
    ours = theirs["rows"][-1]
    assert "breast-lt8" in theirs["title"] and (ours["method"], ours["seeds"]) == ("rl-cas", 0)
    assert ours["macro_f1_published"] == pytest.approx(0.3523) and not any("lt8" in text for text in here["notes"])
    assert any("cannot be had" in text for text in theirs["notes"])
    assert any("the paper's FID is in leaderboards/published" in text for text in theirs["notes"])
    assert not any("FID" in text for text in here["notes"])


def test_nothing_measured_is_the_papers_table_alone(tmp_path) -> None:
    (table,) = rows_of(IOIS, tmp_path)
    assert [row["seeds"] for row in table["rows"]] == [0, 0, 0, 0]
    assert table["rows"][0]["macro_f1_published"] == pytest.approx(0.6905)


def test_as_released_stands_beside_clean(tmp_path, cell) -> None:
    clean = cell("ce", dataset="aptos", protocol="iois2024", skill=0.5, imbalance=None)
    as_released = {"protocol": "iois2024-as-released", "data": {"validation_is_test": True}, "imbalance": None}
    leak = cell("ce", dataset="aptos", skill=2.0, **as_released)
    gap = clean.metrics["macro_f1"] - leak.metrics["macro_f1"]
    (table,) = rows_of(IOIS, tmp_path)
    assert table["rows"][0]["macro_f1_as_released_difference"] == pytest.approx(gap) and gap < 0
    assert any("differences: ours minus it" in text for text in table["notes"])
    text = suite_tables(IOIS, load_results(tmp_path))
    assert "as released" in text and "ours - released" in text and f"{100 * gap:+.2f}" in text
    found = {t.records[0]["protocol"]: t for t in tables(load_results(tmp_path), published=True)}
    record = found["iois2024"].records[0]
    assert record["as_released"] == pytest.approx(leak.metrics["macro_f1"])
    assert record["as_released_difference"] == pytest.approx(gap)
    assert any("differences: ours minus it" in text for text in found["iois2024"].notes)
    released = leak.metrics["macro_f1"] - record["published"]
    assert record["released_difference"] == pytest.approx(released)
    headings = ["as released", "ours - released", "published", "ours - published", "released - published"]
    assert found["iois2024"].header[-5:] == headings and found["iois2024"].rows[0][-1] == f"{100 * released:+.2f}"
    assert table["rows"][0]["macro_f1_released_difference"] == pytest.approx(released)
    assert "released - paper" in suite_tables(IOIS, load_results(tmp_path), published=True)
    assert "as_released" not in found["iois2024-as-released"].records[0]
    assert all("as_released" not in t.records[0] for t in tables(load_results(tmp_path)))


def test_as_released_stands_beside_its_own_conditions_alone(tmp_path, cell) -> None:
    """One method untuned, tuned, with a set imbalance and with weights, each with its own as-released cell."""
    kinds = [
        {"imbalance": None},
        {"imbalance": None, "tuning": 8},
        {"imbalance": 50},
        {"record": {"weights": "net:ab"}},
    ]
    leaks = {}
    for number, kind in enumerate(kinds):
        cell("ce", dataset="aptos", protocol="iois2024", skill=0.5, **kind)
        leak = cell("ce", dataset="aptos", protocol="iois2024-as-released", skill=number + 1.0, **kind)
        row = leak.row()
        leaks[row["tuning"], f"{row['imbalance'] or ''}", row["weights"]] = leak.metrics["macro_f1"]
    cell("ce", dataset="aptos", protocol="iois2024", imbalance=100)
    rows = load_rows(tmp_path)
    found = [t.records[0] for t in tables(rows, published=True, protocol="iois2024")]
    assert {(r["tuning"], r["imbalance"], r["weights"]): r.get("as_released") for r in found} == {
        **{key: pytest.approx(value) for key, value in leaks.items()},
        ("", "100", "none"): None,
    }
    listed = [row["macro_f1_as_released"] for table in rows_of(IOIS, tmp_path) for row in table["rows"][:1]]
    assert sorted(x for x in listed if x) == pytest.approx(sorted(leaks.values())) and len(listed) == 5


def test_a_table_says_its_conditions_and_draws_no_difference_from_others(tmp_path, cell) -> None:
    for kind in ({"imbalance": None}, {"imbalance": 50}, {"imbalance": None, "tuning": 8}):
        cell("ce", dataset="aptos", protocol="iois2024", **kind)
    frame = load_results(tmp_path)
    found = {table["title"]: table for table in rows_of(IOIS, tmp_path)}
    assert len(found) == 3
    for title, table in found.items():
        assert title.startswith("IOIS, table 1: aptos, protocol iois2024, weights none, split stratified seed 0")
        ours = table["rows"][0]
        clean = "untuned defaults" in title and "set to 50" not in title
        assert (ours["macro_f1_difference"] is not None) == clean
        assert ours["macro_f1_published"] == pytest.approx(0.6905)
        assert any("no difference is printed" in text for text in table["notes"]) == (not clean)
    text = suite_tables(IOIS, frame, published=True)
    assert text.count("(set to 50)") == 1 and text.count("tuned, 8 trials a method (seed 1000)") == 1
    assert text.count("ours - paper") == 3  # three metrics of one table
    for table in tables(frame, published=True):
        clean = "untuned defaults" in table.title and "set to 50" not in table.title
        assert math.isfinite(table.records[0]["difference"]) == clean and table.records[0]["published"] == 0.6905


def test_foreign_code_stands_in_no_row_by_a_plus_in_its_name(tmp_path, cell) -> None:
    cell("ce+mine", dataset="aptos", protocol="iois2024", cell={"external": True})
    cell("sqrt", dataset="aptos", protocol="iois2024", cell={"external": True})
    rows = rows_of(IOIS, tmp_path)[0]["rows"]
    assert [(row["method"], row["seeds"]) for row in rows[:2]] == [("ce", 0), ("sqrt", 1)]


def test_renamed_rows_only_where_asked_and_under_their_name(tmp_path, cell) -> None:
    cell("ce+epochs=3", dataset="aptos", protocol="iois2024", cell={"standard": False})
    assert rows_of(IOIS, tmp_path)[0]["rows"][0]["seeds"] == 0
    assert rows_of(IOIS, tmp_path, include_renamed=True)[0]["rows"][0]["method"] == "ce+epochs=3"


def test_on_the_command_line(tmp_path, cell, capsys, monkeypatch) -> None:
    cell("ce", dataset="aptos", protocol="iois2024")
    assert main(["leaderboard", "--suite", "iois2024_table1", "--published", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Ours (+OIS+AAS)" in out and "81.97" in out and "aptos" in out and "ham10000" in out
    assert main(["leaderboard", "--suite", "iois2024_table1", "--dataset", "busi", "--out", str(tmp_path)]) == 2
    assert main(["leaderboard", "--suite", "no-such-suite", "--out", str(tmp_path)]) == 2
    assert "no suite file 'no-such-suite'" in capsys.readouterr().err


def test_a_suite_says_that_rows_with_overrides_are_hidden(tmp_path, cell, capsys) -> None:
    cell("ce", dataset="aptos", protocol="iois2024")
    cell("sqrt+epochs=3", dataset="aptos", protocol="iois2024", cell={"standard": False})
    cell("rl-cas+epochs=3", dataset="aptos", protocol="iois2024", cell={"standard": False})  # in no row of the suite
    cell("ce+epochs=3", dataset="digits-lt", cell={"standard": False})  # none of its data sets
    assert main(["leaderboard", "--suite", "iois2024_table1", "--out", str(tmp_path)]) == 0
    assert "1 cell with overridden options not shown; --all shows them" in capsys.readouterr().err


def test_a_suite_on_data_where_others_alone_were_measured_is_printed(tmp_path, cell, capsys) -> None:
    cell("rl-cas", dataset="digits-lt")
    words = ["--suite", "iois2024_table1", "--published", "--dataset", "digits-lt", "--out", str(tmp_path)]
    assert main(["leaderboard", *words]) == 0
    seen = capsys.readouterr()
    assert "not run" in seen.out and seen.err == ""


def test_a_stand_in_must_be_a_data_set_of_the_suite(tmp_path) -> None:
    path = tmp_path / "mine.py"
    text = (
        'title = "T"\nsource = "S"\nprotocol = "quick"\ndatasets = ["digits-lt"]\nseeds = "0"\nrows = [("A", "ce")]\n'
    )
    path.write_text(text + 'stands_for = {"busi": "pmg2000"}\n')
    with pytest.raises(UserError, match="stands_for must be"):
        suites.load(str(path))
    path.write_text(text + 'stands_for = {"digits-lt": "pmg2000"}\npublished = "DiffMIC-MICCAI2023/Table2"\n')
    assert suites.load(str(path)).stands_for == {"digits-lt": "pmg2000"}


def test_every_suite_finds_its_papers_rows() -> None:
    from ltbench.results.published import load_published

    there = {(f"{row['paper']}/{row['table']}", row["method"]) for row in load_published()}
    for path in suites.offered(suites.FOLDER):
        suite = suites.load(str(path))
        assert {(suite.published, name) for name, _ in suite.rows} <= there
