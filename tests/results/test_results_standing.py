"""Intervals and ranks of a table's rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ltbench.cli import main
from ltbench.metrics import classification, image_weights
from ltbench.results import load_results, read_result
from ltbench.results.tables import tables

COUNTS = [200, 60, 30, 5]  # training images of the maker's classes

EMPTY = b"PK\x05\x06" + bytes(18)  # an archive without a member: its end is there


def test_intervals_and_ties(store, cell):
    for seed in range(3):
        cell("twin", seed, skill=2.0)
    found = tables(load_results(store))[0]
    rows = {record["method"]: (row, record) for row, record in zip(found.rows, found.records, strict=True)}
    assert list(found.header[:4]) == ["method", "rank", "macro_f1", "95 %"]
    assert {rows[name][0][1] for name in ("iois", "twin")} == {"1="}
    second = min(("iois", "twin"), key=lambda name: rows[name][1]["macro_f1_mean"])
    assert rows["ce"][1]["p_against_first"] < rows[second][1]["p_against_first"]
    for row, record in rows.values():
        assert (row[1] == "1=") == record["tied_with_first"]
        assert record["macro_f1_low"] < record["macro_f1_mean"] < record["macro_f1_high"]
        assert ("°" in row[3]) == (record["method"] == "sqrt")
    assert any("not separated from the first row" in note for note in found.notes)
    plain = tables(load_results(store), statistics=False)[0]
    assert "rank" not in plain.header and [r["method"] for r in plain.records] == list(rows)


@pytest.mark.parametrize("metric", ["auc", "nll", "brier", "few_accuracy", "balanced_accuracy"])
def test_intervals_of_what_is_not_counted_from_a_confusion_matrix(tmp_path, cell, metric):
    """One seed: the percentiles of the metric on the drawn images, as computed one sample at a time."""
    for method, skill in (("good", 3.0), ("poor", 0.3)):
        cell(method, 0, skill=skill)
    record = {row["method"]: row for row in tables(load_results(tmp_path), metric=metric)[0].records}
    assert [row["method"] for row in tables(load_results(tmp_path), metric=metric)[0].records] == ["good", "poor"]
    assert record["poor"]["p_against_first"] < 0.01
    for method in record:
        result = read_result(next(tmp_path.glob(f"*/{method}/*/*")))
        y, probs = result.predictions.y_true, result.predictions.probs
        order = np.argsort(result.predictions.ids)
        weights = image_weights(len(y), 1000, np.random.default_rng(0)).astype(int)
        rows = [order[np.repeat(np.arange(len(y)), w)] for w in weights]
        drawn = np.array([classification(y[r], probs[r], np.array(COUNTS))[metric] for r in rows])
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        assert (record[method][f"{metric}_low"], record[method][f"{metric}_high"]) == pytest.approx(
            (low, high), abs=1e-6
        )
        assert low <= record[method][f"{metric}_mean"] <= high


def test_no_interval_where_resampling_would_mislead(tmp_path, cell):
    cell("ce", 0)
    assert "95 %" in tables(load_results(tmp_path), metric="nll")[0].header
    assert "95 %" not in tables(load_results(tmp_path), metric="ece")[0].header


def test_one_seed_of_forty_methods_can_still_be_separated(tmp_path, cell):
    for k in range(40):
        cell(f"m{k}", 0, skill=9.0 if k else 0.0)
    ranks = {row[0]: row[1] for row in tables(load_results(tmp_path))[0].rows}
    assert ranks["m0"] == "40 °" and ranks["m1"] == "1="


def test_what_cannot_be_paired_is_no_tie(tmp_path, cell):
    """A row without a seed of the first, one whose predictions are broken, also where it is the first row."""
    cell("best", 0, skill=4.0)
    cell("elsewhere", 1, skill=0.1)
    (cell("broken", 0, skill=1.0).folder / "predictions.npz").write_bytes(EMPTY)
    table = tables(load_results(tmp_path))[0]
    assert [row[:2] for row in table.rows] == [["best", "1"], ["broken", "?"], ["elsewhere", "?"]]
    assert any(note.startswith("?: has no seed") for note in table.notes)
    (cell("first", 0, skill=12.0).folder / "predictions.npz").write_bytes(EMPTY)
    assert [row[1] for row in tables(load_results(tmp_path))[0].rows] == ["?", "2", "?", "?"]


def test_a_rank_from_one_shared_seed_is_of_these_models_alone(tmp_path, cell):
    for seed in range(3):
        cell("best", seed, skill=4.0)
        cell("poor", seed + 2, skill=0.2)
        cell("paired", seed, skill=0.2)
    table = tables(load_results(tmp_path))[0]
    assert {row[0]: "°" in row[1] for row in table.rows} == {"best": False, "poor": True, "paired": False}
    assert any(note.startswith("° one seed, or one in common with the first row") for note in table.notes)


def test_predictions_of_other_labels_or_classes_have_no_place(tmp_path, cell):
    for method in ("best", "relabelled", "wider", "nan"):
        cell(method, 0, skill=4.0 if method == "best" else 0.5)
    for method, change in {
        "relabelled": lambda c: c.update(y_true=np.roll(c["y_true"], 1)),
        "wider": lambda c: c.update(probs=np.pad(c["probs"], ((0, 0), (0, 1)))),
        "nan": lambda c: c["probs"].__setitem__((3, 1), np.nan),
    }.items():
        path = next(tmp_path.glob(f"*/{method}/*/*/predictions.npz"))
        columns = dict(np.load(path))
        change(columns)
        np.savez(path, **columns)
    ranks = {row[0]: row[1] for row in tables(load_results(tmp_path))[0].rows}
    assert ranks == {"best": "1", "relabelled": "?", "wider": "?", "nan": "?"}


def test_an_undefined_metric_is_not_called_unreadable(tmp_path, cell):
    for method in ("ce", "focal"):
        for seed in range(2):
            cell(method, seed, data={"train_counts": [200, 200, 200, 200]})
    for path in tmp_path.rglob("result.json"):
        record = json.loads(path.read_text())
        record["metrics"]["test"]["few_accuracy"] = None
        path.write_text(json.dumps(record))
    table = tables(load_results(tmp_path), metric="few_accuracy")[0]
    assert {row[1] for row in table.rows} == {""} and any("n/a: the metric is undefined" in x for x in table.notes)
    assert not any(note.startswith(("?", "°")) for note in table.notes)


def test_an_interval_stays_where_the_metric_can_be(tmp_path, cell):
    cell("ce", 0, skill=9.0)
    cell("ce", 1, skill=0.5)  # two seeds far apart: twelve standard errors either way
    for metric, least in (("macro_f1", 0.0), ("mcc", -1.0)):
        record = tables(load_results(tmp_path), metric=metric)[0].records[0]
        assert (record[f"{metric}_low"], record[f"{metric}_high"]) == (least, 1.0)


def test_an_interval_without_width_is_explained(tmp_path, cell):
    cell("ce", 0, skill=99.0)
    cell("focal", 0, skill=0.5)
    notes = tables(load_results(tmp_path))[0].notes
    assert any(note.startswith("an interval without width") for note in notes)
    cell("ce", 0, skill=2.0)
    assert not any("without width" in note for note in tables(load_results(tmp_path))[0].notes)


def test_unreadable_predictions_leave_the_interval_out(store):
    folder = load_results(store).query("method == 'ce'")["folder"].iloc[0]
    Path(folder, "predictions.npz").write_bytes(EMPTY)
    found = tables(load_results(store))[0]
    assert next(row for row in found.rows if row[0] == "ce")[3] == ""


def test_predictions_of_unequal_lengths_leave_the_interval_out(store, capsys):
    folder = Path(load_results(store).query("method == 'ce'")["folder"].iloc[0])
    with np.load(folder / "predictions.npz") as stored:
        columns = dict(stored)
    np.savez(folder / "predictions.npz", **{**columns, "y_true": columns["y_true"][:5]})
    found = tables(load_results(store))[0]
    assert next(row for row in found.rows if row[0] == "ce")[3] == ""
    assert main(["compare", "ce", "iois", "--out", str(store)]) == 1
    assert "ids (120,), y_true (5,) and probs (120, 4) differ" in capsys.readouterr().err


@pytest.mark.parametrize(("least", "noted"), [(14, True), (15, False)])
def test_a_small_test_class_is_noted(tmp_path, cell, least, noted):
    y = np.r_[np.arange(91) % 3, np.zeros(29 - least, dtype=int), np.full(least, 3)]
    result = cell("ce", 0)
    with np.load(result.folder / "predictions.npz") as stored:
        columns = {name: stored[name] for name in stored.files}
    np.savez(result.folder / "predictions.npz", **{**columns, "y_true": y})
    notes = " ".join(tables(load_results(tmp_path))[0].notes)
    assert ("95 % intervals are too narrow" in notes) == noted
    assert not noted or f"the smallest test class has {least} images" in notes
