"""Leaderboards, the fresh row, the published numbers and their footnotes."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltbench.cli import main
from ltbench.errors import UnknownName, UserError
from ltbench.registry import Registry
from ltbench.results import load_results, words
from ltbench.results.compare import comparison
from ltbench.results.costs import cost_card
from ltbench.results.published import load_published, published_score
from ltbench.results.ranks import rank_table
from ltbench.results.rows import deviation, newest
from ltbench.results.store import load_rows
from ltbench.results.tables import cards, leaderboard, row_table, tables


def test_mean_and_sd_over_seeds(store):
    frame = load_results(store)
    values = frame[frame["method"] == "ce"]["macro_f1"].tolist()
    text = leaderboard(frame, statistics=False)
    mean, sd = 100 * statistics.mean(values), 100 * statistics.stdev(values)
    assert f"{mean:.2f} ± {sd:.2f}" in text
    lines = text.splitlines()
    assert (
        "digits-lt, protocol quick, weights none, split stratified seed 0, training imbalance 40.0 (set to 20)"
        in lines[0]
    )
    assert "untuned defaults" in lines[0] and [line.split()[0] for line in lines[-3:]] == ["iois", "sqrt", "ce"]
    single = next(line for line in lines if line.split()[:1] == ["sqrt"])
    assert "±" not in single and single.split()[-2:] == ["1", "30"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_the_standard_deviation_is_that_of_exact_arithmetic(values):
    assert deviation(values) == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)


def test_one_value_and_values_that_are_not_finite_have_no_deviation():
    assert all(map(math.isnan, map(deviation, ([1.0], [1.0, math.nan], [math.inf, 1.0, -math.inf]))))
    assert deviation([1e300, -1e300]) == math.inf


def test_a_method_without_untuned_rows_is_named(tmp_path, cell):
    cell("ce", tuning=8)
    cell("iois")
    with pytest.raises(UserError, match="method 'ce' has no untuned result here; compare tuned rows with --tuned"):
        comparison(tmp_path, "iois", "ce")
    with pytest.raises(UserError, match="method 'iois' has no tuned result here; tune it first"):
        comparison(tmp_path, "iois", "ce", tuned=True)


def test_every_format(store):
    frame = load_results(store)
    rows = json.loads(leaderboard(frame, fmt="json"))[0]["rows"]
    records = list(csv.DictReader(io.StringIO(leaderboard(frame, fmt="csv"))))
    assert [r["method"] for r in rows] == [r["method"] for r in records] == ["iois", "sqrt", "ce"]
    assert rows[1]["macro_f1_sd"] is None and float(records[0]["mcc_mean"]) == pytest.approx(rows[0]["mcc_mean"])
    assert leaderboard(frame, fmt="markdown").splitlines()[2].startswith("| method")
    assert "\\toprule" in leaderboard(frame, fmt="latex") and "macro\\_f1" in leaderboard(frame, fmt="latex")
    assert "<table>" in leaderboard(frame, fmt="html")
    with pytest.raises(UnknownName, match="formats: table"):
        leaderboard(frame, fmt="pdf")


def test_lower_is_better_sorts_upwards(store):
    means = [record["nll_mean"] for record in tables(load_results(store), metric="nll")[0].records]
    assert means == sorted(means)
    assert "1.5000" in leaderboard(load_results(store), metric="generation.fd[ref]")


@pytest.mark.parametrize(
    ("metric", "higher", "shown"),
    [
        ("generation.fd[ref]", False, "0.5000"),
        ("generation.fd_macro[net.v1|pca16]", False, "0.5000"),
        ("generation.kd_macro_floor[ref]", False, "0.5000"),
        ("generation.kid[inception.2015]", False, "0.5000"),
        ("generation.fid_matched[x]", False, "0.5000"),
        ("generation.precision[a.b]", True, "50.00"),
        ("val.target_rate_class[3]", True, "50.00"),
        ("val.nll", False, "0.5000"),
        ("device_seconds", False, "0.5000"),
    ],
)
def test_direction_and_unit_of_a_metric(metric, higher, shown):
    assert (words.higher_is_better(metric), words.number(metric, 0.5)) == (higher, shown)


def test_a_plugins_word_on_direction_sorts_and_ranks(tmp_path, cell, monkeypatch):
    """Three data sets, on which `bad` has the higher value of a stranger's metric and the larger distance."""
    registry = Registry()
    registry.add("metric", "mine", "ltbench_metrics.generation:Generation", summary="")
    registry.add("metric", "lost", "ltbench_no_such_module:Lost", summary="")
    component = next(c for c in registry.all() if c.id == "mine")
    monkeypatch.setattr(component.value, "higher_is_better", {"mine[x]": False, "fd": False})
    monkeypatch.setattr("ltbench.plugins.plugins", lambda: SimpleNamespace(registry=registry))
    for dataset in ("aptos", "ham10000", "digits-lt"):
        for method, value in (("bad", 50.0), ("good", 1.0)):
            result = cell(method, dataset=dataset)
            record = json.loads((result.folder / "result.json").read_text())
            record["metrics"]["generation"] = {"mine": value, "fd[ref]": value}
            (result.folder / "result.json").write_text(json.dumps(record))
    rows = load_rows(tmp_path)
    with pytest.warns(UserWarning, match="metric 'lost' of plugin"):
        words.higher_is_better("generation.mine")
    for metric in ("generation.mine", "generation.fd[ref]"):
        assert [row["method"] for row in json.loads(rank_table(rows, metric, fmt="json"))[0]["rows"]] == ["good", "bad"]
        assert [record["method"] for record in tables(rows, metric=metric)[0].records] == ["good", "bad"]
        front = json.loads(cards(cost_card, rows, metric, fmt="json"))[0]["rows"]
        assert {row["method"] for row in front if row["front"]} == {"good"}


def test_incomparable_cells_get_their_own_tables(store, cell):
    cell("ce", 0, protocol="standard")
    cell("ce", 0, dataset="aptos")
    cell("ce", 5, data={"split": {"scheme": "stratified", "seed": 1}})
    cell("ce", 6, record={"weights": "imagenet:ab12"})
    cell("ce", 7, data={"content": "other"})
    frame = load_results(store)
    assert len(tables(frame)) == 6
    assert len(tables(frame, dataset="aptos")) == 1 and len(tables(frame, protocol="standard")) == 1


def test_renamed_rows_are_left_out_unless_asked(store, cell):
    cell("iois+sampler.total=200", 0, cell={"standard": False})
    frame = load_results(store)
    assert "total=200" not in leaderboard(frame) and "total=200" in leaderboard(frame, include_renamed=True)
    only = frame[~frame["standard"].astype(bool)]
    assert "show them with --all" in leaderboard(only) and leaderboard(only, fmt="csv") == ""


def test_tables_of_other_data_are_told_apart_and_say_what_is_no_percentage(tmp_path, cell):
    cell("ce", 0)
    cell("focal", 0, data={"content": "0123456789abcdef"})
    assert [table.title.rpartition(", ")[2] for table in tables(load_results(tmp_path))] == [
        "data 01234567",
        "data content",
    ]
    alone = tables(load_results(tmp_path), metric="nll")[0]
    assert alone.title.endswith("percent but for nll, data 01234567")


def test_footnotes(tmp_path, cell):
    cell("a", cell={"owns": {"optimizer": "paper, section 3"}})
    cell("b", cell={"assumed": True})
    cell("c", data={"validation_is_test": True})
    cell("d", data={"val_counts": [30, 30, 56, 4]})
    text = leaderboard(load_results(tmp_path))
    assert "d ‡" in text and "fewer than 5 images" in text and "a ‡" not in text
    assert "a *" in text and "* a fixes optimizer (paper, section 3)" in text
    assert "b (assumed)" in text and "c †" in text and "the validation part is the test part" in text


def test_a_class_without_training_images_has_no_ratio(tmp_path, cell):
    cell("a", data={"train_counts": [10, 0, 5, 5]})
    assert "training imbalance" not in leaderboard(load_results(tmp_path))


def test_the_newest_of_two_results_of_one_seed_counts(tmp_path, cell):
    cell("ce", 0, skill=0.1, cell={"versions": {"loss:ce": 1}})
    newest = cell("ce", 0, skill=3.0, cell={"versions": {"loss:ce": 2}}, finished="2026-02-01T00:00:00")
    table = tables(load_results(tmp_path))[0]
    assert table.records[0]["macro_f1_mean"] == pytest.approx(newest.metrics["macro_f1"])
    assert any("left out: 1 older result of" in note for note in table.notes)


@pytest.mark.parametrize("stamp", ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "", None, 7])
def test_clocks_that_disagree_do_not_decide_which_versions_are_newer(tmp_path, cell, stamp):
    """The clock of the machine that ran the older component was right, years behind, years ahead, or broken."""
    cell("ce", 0, skill=0.1, cell={"versions": {"loss:ce": 1, "sampler:instance": 1}}, record={"finished": stamp})
    newer = cell("ce", 0, skill=3.0, cell={"versions": {"loss:ce": 2, "sampler:instance": 1}})
    other = cell("focal", 0, skill=1.0)
    for rows in (load_rows(tmp_path), list(reversed(load_rows(tmp_path))), load_results(tmp_path)):
        records = {record["method"]: record for record in tables(rows, statistics=False)[0].records}
        assert records["ce"]["macro_f1_mean"] == pytest.approx(newer.metrics["macro_f1"])
    differences = comparison(tmp_path, "ce", "focal").differences
    gap = other.metrics["macro_f1"] - newer.metrics["macro_f1"]
    assert differences["macro_f1"].value == pytest.approx(gap)


def test_equal_stamps_of_equal_versions_choose_the_same_cell_everywhere(tmp_path, cell):
    for option in range(4):
        recipe = {"dataset": {"name": "digits-lt", "imbalance": 20}, "loss": {"name": "ce", "x": option}}
        cell("ce", 0, skill=float(option), cell={"recipe": recipe})
    rows = load_rows(tmp_path)
    chosen = {newest(order)[0]["hash"] for order in (rows, rows[::-1], rows[2:] + rows[:2])}
    assert chosen == {max(row["hash"] for row in rows)}


def test_unknown_names(store):
    frame = load_results(store)
    with pytest.raises(UnknownName, match="Did you mean macro_f1"):
        leaderboard(frame, metric="macro-f1")
    with pytest.raises(UserError, match=r"no stored result has the dataset 'digit'.*digits-lt"):
        leaderboard(frame, dataset="digit")


def test_empty_store(tmp_path):
    frame = load_results(tmp_path)
    assert "no results yet" in leaderboard(frame) and leaderboard(frame, dataset="aptos", fmt="json").strip() == "[]"


def test_fresh_row_stands_above_the_store(store, cell):
    fresh = cell("focal", 4)
    lines = row_table(fresh, load_results(store)).splitlines()
    first = next(i for i, line in enumerate(lines) if "this run: focal, seed 4" in line)
    assert [line.split()[0] for line in lines[first + 1 : first + 4]] == ["iois", "sqrt", "focal"]
    alone = row_table(fresh, load_results(store / "nowhere"))
    assert "this run: focal, seed 4" in alone and "iois" not in alone


def test_published_numbers_and_difference(tmp_path, cell):
    result = cell("iois", dataset="aptos", protocol="iois2024", imbalance=None)
    text = leaderboard(load_results(tmp_path), published=True)
    difference = 100 * result.metrics["macro_f1"] - 73.02
    assert "73.02 [1]" in text and f"{difference:+.2f}" in text and "IOIS-MICCAI2024" in text
    cell("unheard-of", dataset="aptos", protocol="iois2024")
    assert "unheard-of" in leaderboard(load_results(tmp_path), published=True)


def test_published_table_is_complete():
    rows = load_published()
    assert len(rows) == 404
    for row in rows:
        named = not row["metric"].startswith("hparam")
        assert all(bool(row[key]) == named for key in ("dataset_id", "method_id", "metric_id")), row
        assert row["score"] is None or row["metric_id"] == "fid" or 0 <= row["score"] <= 1, row
        unit = row["notes"].split(";")[0].split(" ")[0]
        assert unit in ("percent", "fraction", "FID", "hyper-parameter"), row


def test_published_lookup():
    assert published_score("ham10000", "iois", "macro_f1")["score"] == pytest.approx(0.8197)
    assert published_score("ham10000", "proco-proto", "accuracy")["paper"] == "DiffMIC-MICCAI2023"
    assert published_score("ham10000", "proco-vmf", "accuracy") is None
    assert published_score("nct-crc-5pct", "ce", "generation.fd[ref]") is None


def test_breast_recall_is_two_head_four_middle_two_tail_classes():
    keys = ("macro_recall", "many_accuracy", "medium_accuracy", "few_accuracy")
    fits = 0
    for method in ("balanced-softmax", "cb-focal", "logit-adjustment", "ncl", "glmc", "mgdm", "skin-sdm"):
        rec, many, med, few = (published_score("breast-lt8", method, key)["score"] for key in keys)
        fits += abs((2 * many + 4 * med + 2 * few) / 8 - rec) < 1e-4
    assert fits == 7


@pytest.mark.parametrize(
    ("view", "argument", "fits"),
    [
        *((view, argument, False) for view in ("--tail", "--ranks", "--costs") for argument in ("--published",)),
        *((view, argument, False) for view in ("--tail", "--ranks", "--costs") for argument in ("--sort method",)),
        *((view, argument, False) for view in ("--tail", "--ranks") for argument in ("--no-statistics",)),
        ("--costs", "--statistics", False),
        ("--suite iois2024_table1", "--sort metric", False),
        ("--suite iois2024_table1", "--statistics", False),
        ("--suite iois2024_table1", "--metric mcc", False),
        ("--suite iois2024_table1", "--methods ce", False),
        ("--suite iois2024_table1", "--budget 10", False),
        ("--tail", "--metric macro_f1", False),
        ("--ranks", "--dataset digits-lt", False),
        ("--suite iois2024_table1", "--published", True),
        ("--ranks", "--metric mcc", True),
        ("--costs", "--metric mcc", True),
        ("--costs", "--dataset digits-lt", True),
        ("--tail", "--methods iois ce", True),
    ],
)
def test_a_view_refuses_what_it_would_leave_out(store, capsys, view, argument, fits):
    assert main(["leaderboard", "--out", str(store), *view.split(), *argument.split()]) == (0 if fits else 2)
    if not fits:
        err = capsys.readouterr().err
        assert f"{view.split()[0]} does not go with {argument.split()[0]}: " in err and "leave one out" in err


def test_foreign_code_takes_no_name_of_an_overridden_method(store, tmp_path, capsys):
    words = ["add-predictions", "p.csv", "--dataset", "digits-lt", "--protocol", "quick", "--method", "iois+x"]
    assert main([*words, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "'iois+x'" in err and "name it iois-x" in err
