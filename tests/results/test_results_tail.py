"""The tail card and mean ranks over data sets."""

from __future__ import annotations

import json
import statistics

import pytest

from ltbench.cli import main
from ltbench.errors import UserError
from ltbench.metrics import jeffreys
from ltbench.report.boards import rankings
from ltbench.report.collect import collect
from ltbench.results import load_results, read_result
from ltbench.results.ranks import rank_groups, rank_table
from ltbench.results.rows import chosen_methods
from ltbench.results.store import load_rows
from ltbench.results.tables import cards
from ltbench.results.tail import tail_card


def test_tail_card(store):
    text = cards(tail_card, load_results(store))
    rows = json.loads(cards(tail_card, load_results(store), fmt="json"))[0]["rows"]
    best = next(row for row in rows if row["method"] == "iois")
    frame = load_results(store)
    recalls = [read_result(f).metrics["per_class_recall"] for f in frame[frame["method"] == "iois"]["folder"]]
    assert best["three_recall"] == pytest.approx(statistics.mean(r[3] for r in recalls))
    low, high = jeffreys(best["three_recall"] * best["three_n"], best["three_n"])
    assert (best["three_low"], best["three_high"]) == pytest.approx((float(low), float(high)))
    assert "worst class" in text and f"three (n={int(best['three_n'])})" in text and "brier" in text
    with pytest.raises(UserError, match="no stored result of method 'gone'"):
        chosen_methods(frame, ["gone"])


def test_the_tail_card_says_its_conditions_seeds_and_marks(tmp_path, cell):
    for seed in range(2):
        cell("a", seed, data={"validation_is_test": True})
    cell("b", cell={"assumed": True}, skill=2.0)
    cell("a", imbalance=50)
    cell("a", tuning=8)
    found = json.loads(cards(tail_card, load_rows(tmp_path), fmt="json"))
    shared = "recall by class and calibration of digits-lt, protocol quick, weights none, split stratified seed 0"
    assert all(table["title"].startswith(shared) for table in found)
    for part in ("(set to 20), untuned defaults", "(set to 50), untuned defaults", "(set to 20), tuned, 8 trials"):
        assert sum(part in table["title"] for table in found) == 1
    text = cards(tail_card, load_rows(tmp_path))
    assert "a †" in text and "b (assumed)" in text and "† the validation part is the test part" in text
    lines = [line.split() for line in text.splitlines()]
    head = next(line for line in lines if line[:1] == ["method"])
    assert head[-1] == "seeds" and {(line[0], line[-1]) for line in lines if line[1:2] in (["†"], ["(assumed)"])} == {
        ("a", "2"),
        ("b", "1"),
    }


def test_a_record_without_what_the_tail_card_needs_is_skipped(store, cell, capsys):
    bare, torn = cell("bare"), cell("torn")
    record = json.loads((bare.folder / "result.json").read_text())
    del record["metrics"]["test"]["nll"]
    (bare.folder / "result.json").write_text(json.dumps(record))
    record = json.loads((torn.folder / "result.json").read_text())
    record["metrics"]["test"]["per_class_recall"] = [0.5]
    (torn.folder / "result.json").write_text(json.dumps(record))
    assert main(["leaderboard", "--tail", "--out", str(store)]) == 0
    seen = capsys.readouterr()
    assert "bare" not in seen.out and "torn" not in seen.out and "iois" in seen.out
    assert f"skipped a result: {bare.folder}/result.json is incomplete (KeyError('nll'))" in seen.err
    assert f"skipped a result: {torn.folder}/result.json is incomplete (ValueError" in seen.err
    assert main(["leaderboard", "--tail", "--methods", "bare", "--out", str(store)]) == 0
    assert "no results yet" in capsys.readouterr().out


def test_ranks_say_their_conditions_seeds_and_marks(tmp_path, cell):
    for dataset in ("aptos", "ham10000"):
        for tuning in ({}, {"tuning": 8}):
            for method in ("ce", "iois"):
                cell(method, dataset=dataset, skill=3.0 if tuning and method == "ce" else 1.0, **tuning)
    cell("ce", 1, dataset="aptos", data={"validation_is_test": True})
    cell("ce", dataset="aptos", imbalance=50, skill=9.0)  # a table of one method: not the largest
    plain, tuned = json.loads(rank_table(load_rows(tmp_path), fmt="json"))
    assert "protocol quick, untuned defaults, 2 data sets" in plain["title"]
    assert "protocol quick, tuned, 8 trials a method (seed 1000), 2 data sets" in tuned["title"]
    assert [row["method"] for row in tuned["rows"]] == ["ce", "iois"] and tuned["rows"][0]["tuning"].startswith("8")
    assert {row["method"]: row["seeds"] for row in plain["rows"]} == {"ce": "1 to 2", "iois": "1"}
    conditions = "protocol quick, weights none, split stratified seed 0, training imbalance 40.0 (set to 20), untuned"
    assert [note.split(", ")[0] for note in plain["notes"] if conditions in note] == ["aptos", "ham10000"]
    assert "ce †" in rank_table(load_rows(tmp_path)) and any("† the validation" in note for note in plain["notes"])


def test_of_two_tables_with_as_many_methods_the_larger_counts_in_every_ranking(tmp_path, cell):
    """On one data set an imbalance of 10, the first table, turns the order around, with as many methods of one seed."""
    for dataset in ("aptos", "ham10000"):
        for method, skill in (("a", 0.1), ("b", 1.5), ("c", 6.0)):
            for seed in (0, 1):
                cell(method, seed, dataset=dataset, skill=skill, imbalance=20)
    for method, skill in (("a", 6.0), ("b", 1.5), ("c", 0.1)):
        cell(method, dataset="aptos", skill=skill, imbalance=10)
        cell(method, dataset="aptos", skill=skill, tuning=8)
        cell(method, dataset="ham10000", skill=skill, tuning=8)
    plain, tuned = json.loads(rank_table(load_rows(tmp_path), fmt="json"))
    drawn = {name: (titles, ranks) for name, titles, ranks in rankings(collect([tmp_path])[0])}
    assert [row["method"] for row in plain["rows"]] == ["c", "b", "a"]
    assert [row["method"] for row in tuned["rows"]] == ["a", "b", "c"]
    assert set(drawn) == {"quick, untuned defaults", "quick, tuned, 8 trials a method (seed 1000)"}
    for table, (titles, ranks) in zip(
        (plain, tuned), (drawn[name] for name in sorted(drawn, reverse=True)), strict=True
    ):
        assert [row["method"] for row in table["rows"]] == list(ranks.methods)
        assert [row["rank"] for row in table["rows"]] == pytest.approx(ranks.average)
        assert [f"{title}, percent" for title in titles] == [n for n in table["notes"] if "split stratified" in n]


def test_data_sets_and_tables_that_share_the_most_methods_are_ranked(tmp_path, cell):
    """The imbalance of the larger table is on one data set alone; busi shares one method with the others."""
    for dataset in ("aptos", "ham10000"):
        for method in ("ce", "focal", "iois", "sqrt"):
            cell(method, dataset=dataset, imbalance=20)
    for method in ("ce", *(f"only-{k}" for k in range(9))):
        cell(method, dataset="aptos", imbalance=10)
    for method in ("ce", *(f"other-{k}" for k in range(6))):
        cell(method, dataset="busi", imbalance=20)
    (table,) = json.loads(rank_table(load_rows(tmp_path), fmt="json"))
    assert {row["method"] for row in table["rows"]} == {"ce", "focal", "iois", "sqrt"}
    assert "2 data sets" in table["title"]
    assert "data sets without enough of these methods left out: busi" in table["notes"]
    (group,) = rank_groups(load_rows(tmp_path), "macro_f1")
    assert list(group.tables) == ["aptos", "ham10000"] and group.left_out == ("busi",)
    assert group.several == ("aptos",) and any(
        "other tables of aptos are measured, too" in note for note in table["notes"]
    )


def test_two_methods_on_all_data_sets_are_ranked_on_all(tmp_path, cell):
    for dataset in ("aptos", "ham10000", "busi", "breastmnist"):
        for method in ("ce", "iois", *(["sqrt"] if dataset in ("aptos", "busi") else [])):
            cell(method, dataset=dataset, imbalance=20)
    (group,) = rank_groups(load_rows(tmp_path), "macro_f1")
    assert len(group.tables) == 4 and not group.left_out
    assert not list(rank_groups(load_rows(tmp_path), "nll-of-nothing"))


def test_one_method_cannot_be_ranked(tmp_path, cell, capsys):
    for dataset in ("aptos", "ham10000"):
        cell("ce", dataset=dataset)
    assert main(["leaderboard", "--ranks", "--out", str(tmp_path)]) == 2
    assert "ranks need two methods that have macro_f1 on the same data sets" in capsys.readouterr().err


def test_mean_ranks(store, cell):
    for dataset in ("aptos", "ham10000"):
        for method, skill in (("ce", 0.5), ("iois", 3.0), ("sqrt", 1.2)):
            cell(method, 0, dataset=dataset, skill=skill)
    rows = json.loads(rank_table(load_results(store), fmt="json"))[0]["rows"]
    assert [row["method"] for row in rows] == ["iois", "sqrt", "ce"] and rows[0]["rank"] == 1.0
    assert "critical difference 1.91" in rank_table(load_results(store))  # q = 2.343 for three methods
    one = load_results(store).query("dataset == 'aptos'")
    assert "one data set" in rank_table(one)
