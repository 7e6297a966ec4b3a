"""Tables over several splits: means of means, the interval and the pairing over splits, seeds and images."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy import stats

from ltbench.cli import main
from ltbench.metrics import bootstrap_p, hierarchical_draws, interval, metric_draws
from ltbench.results import load_results, read_result
from ltbench.results.compare import compare
from ltbench.results.comparison import comparison
from ltbench.results.rows import comparable
from ltbench.results.store import load_rows
from ltbench.results.tables import tables


@pytest.fixture
def runs(tmp_path, cell):
    """ce on splits 0 and 1 with two seeds and one, iois with two each, sqrt on split 0 alone."""
    made = {}
    for split in (0, 1):
        for seed in (0, 1):
            own = {
                "data": {"split": {"scheme": "stratified", "seed": split}},
                "ids": [f"{split}-{k}" for k in range(120)],
            }
            own["cell"] = {"recipe": {"dataset": {"name": "digits-lt", "imbalance": 20}, "split": split, "seed": seed}}
            made["iois", split, seed] = cell("iois", seed, skill=2.2, **own)
            if (split, seed) != (1, 1):
                made["ce", split, seed] = cell("ce", seed, skill=0.8 + split / 4, **own)
            if split == 0:
                made["sqrt", split, seed] = cell("sqrt", seed, skill=1.5, **own)
    return made


def table(root, **options):
    (found,) = tables(load_results(root), splits=True, **options)
    return found


def test_means_over_splits_of_means_over_seeds(tmp_path, runs):
    assert len(tables(load_results(tmp_path))) == 2
    found = table(tmp_path)
    assert "seeds 0, 1," in found.title and found.header[-2:] == ["runs", "seconds"]
    value = {key: result.metrics["macro_f1"] for key, result in runs.items()}
    of_ce = next(r for r in found.records if r["method"] == "ce")
    mean = statistics.fmean([statistics.fmean([value["ce", 0, 0], value["ce", 0, 1]]), value["ce", 1, 0]])
    assert of_ce["macro_f1_mean"] == pytest.approx(mean) and of_ce["seeds"] == 3
    assert any(note.startswith("runs: of all splits") for note in found.notes)
    assert any("images, seeds and splits" in note for note in found.notes)
    assert "not on all of these splits: sqrt" in found.notes and of_ce["split_seed"] == "0 1"


def test_the_interval_is_that_of_the_hierarchical_draws(tmp_path, runs):
    record = next(r for r in table(tmp_path).records if r["method"] == "iois")
    points, draws = [], []
    for split in (0, 1):
        cells = [read_result(runs["iois", split, seed].folder) for seed in (0, 1)]
        order = np.argsort(cells[0].predictions.ids)
        y, preds = cells[0].predictions.y_true[order], [c.predictions.probs[order].argmax(1) for c in cells]
        points.append(np.array([c.metrics["macro_f1"] for c in cells]))
        draws.append(metric_draws(y, preds, 4, 1000, np.random.default_rng(split))["macro_f1"])
    low, high = interval(hierarchical_draws(points, draws, np.random.default_rng(0)))
    assert (record["macro_f1_low"], record["macro_f1_high"]) == pytest.approx((low, min(high, 1.0)))


def test_methods_are_paired_within_their_splits(tmp_path, runs):
    found = {record["method"]: record for record in table(tmp_path).records}
    points, draws = [], []
    for split, seeds in ((0, (0, 1)), (1, (0,))):
        drawn, values = {}, {}
        for method in ("ce", "iois"):
            cells = [read_result(runs[method, split, seed].folder) for seed in seeds]
            order = np.argsort(cells[0].predictions.ids)
            y, preds = cells[0].predictions.y_true[order], [c.predictions.probs[order].argmax(1) for c in cells]
            drawn[method] = metric_draws(y, preds, 4, 1000, np.random.default_rng(split))["macro_f1"]
            values[method] = np.array([c.metrics["macro_f1"] for c in cells])
        points.append(values["ce"] - values["iois"])
        draws.append(drawn["ce"] - drawn["iois"])
    p = bootstrap_p(hierarchical_draws(points, draws, np.random.default_rng(1)))
    assert found["ce"]["p_against_first"] == pytest.approx(2 * p, rel=0.05) and p < 0.2
    assert found["sqrt"]["seeds"] == 2 and np.isnan(found["sqrt"]["p_against_first"])


def test_the_first_has_all_splits(tmp_path, runs, cell):
    """A method of the easier split alone may have the best mean, and is not what others are paired with."""
    own = {"data": {"split": {"scheme": "stratified", "seed": 0}}, "ids": [f"0-{k}" for k in range(120)]}
    cell("easy", 0, skill=9.0, **own)
    ranks = {line[0]: line[1] for line in table(tmp_path).rows}
    assert ranks["easy"] == ranks["sqrt"] == "?" and ranks["iois"] in ("2", "1=") and ranks["ce"] not in ("?", "")


def test_a_split_whose_images_differ_leaves_the_method_without_interval(tmp_path, runs, cell):
    own = {"data": {"split": {"scheme": "stratified", "seed": 1}}, "ids": [f"other-{k}" for k in range(120)]}
    cell("sqrt", 0, skill=1.5, **own)
    line = next(line for line in table(tmp_path).rows if line[0] == "sqrt")
    assert (line[1], line[3]) == ("?", "")


def test_splits_on_the_command_line(tmp_path, runs, capsys):
    assert main(["leaderboard", "--splits", "--out", str(tmp_path)]) == 0
    assert "seeds 0, 1" in capsys.readouterr().out
    assert main(["leaderboard", "--splits", "--tail", "--out", str(tmp_path)]) == 2
    assert "--tail does not go with --splits" in capsys.readouterr().err
    assert [len(group) for group in comparable(load_rows(tmp_path), splits=True)] == [9]


def test_a_comparison_over_splits_counts_splits(tmp_path, runs):
    """Closed form: the t test of the splits' mean differences, for three metrics at 5 % together."""
    gap = comparison(load_results(tmp_path), "ce", "iois").differences["macro_f1"]
    value = {key: result.metrics["macro_f1"] for key, result in runs.items()}
    means = [
        statistics.fmean(value["iois", split, seed] - value["ce", split, seed] for seed in seeds)
        for split, seeds in ((0, (0, 1)), (1, (0,)))
    ]
    error, t = stats.sem(means), stats.t(1)
    assert gap.value == pytest.approx(statistics.fmean(means))
    assert gap.detectable == pytest.approx((t.ppf(1 - 0.05 / 6) + t.ppf(0.8)) * error)
    needed = 2 + gap.more
    for splits, enough in ((needed, True), (needed - 1, needed == 2)):
        if splits > 1:
            t = stats.t(splits - 1)
            least = (t.ppf(1 - 0.05 / 6) + t.ppf(0.8)) * np.std(means, ddof=1) / splits**0.5
            assert (least <= abs(gap.value)) == enough
    text = compare(tmp_path, "ce", "iois")
    assert "the exact Wilcoxon test of 2 splits" in text and "two seeds, or two splits, are one difference" in text


def test_splits_of_the_same_test_images_are_one_sample_of_them(tmp_path, cell):
    """A fixed test part whose training part is cut anew: its images are no other images, however often it is cut."""
    for split in range(4):
        for seed in (0, 1):
            own = {"data": {"split": {"scheme": "column:split", "seed": split}}}
            own["cell"] = {"recipe": {"dataset": {"name": "digits-lt", "imbalance": 20}, "split": split, "seed": seed}}
            cell("ce", seed, skill=0.9, **own)
            cell("iois", seed, skill=1.1, **own)
    cells = load_results(tmp_path)
    found = table(tmp_path)
    runs = [read_result(row["folder"]) for row in load_rows(tmp_path) if row["method"] == "iois"]
    values = np.array([run.metrics["macro_f1"] for run in runs])
    y, preds = runs[0].predictions.y_true, [run.predictions.probs.argmax(axis=1) for run in runs]
    order = np.argsort(runs[0].predictions.ids)
    draws = metric_draws(y[order], [p[order] for p in preds], 4, 1000, np.random.default_rng(0))["macro_f1"]
    low, high = interval(hierarchical_draws([values], [draws], np.random.default_rng(0)))
    record = next(r for r in found.records if r["method"] == "iois")
    assert (record["macro_f1_low"], record["macro_f1_high"]) == pytest.approx((low, high), abs=2e-3)
    assert not any("share images" in note for note in found.notes) and len(cells) == 16
