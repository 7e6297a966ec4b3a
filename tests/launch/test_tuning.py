"""Tuning: trials on validation alone, resumed and kept; a file for cells, and those for which it is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ltbench
from ltbench.cli import main
from ltbench.engine.evaluate import Evaluator
from ltbench.errors import CheckpointError, Diverged, LtbenchError, NonFinite, TestIsSealed, UserError
from ltbench.launch import trials, tuning
from ltbench.launch.local import gather
from ltbench.results.store import iter_results, status
from ltbench.results.verify import verify
from ltbench.tuned import read_tuned

FAST = {"protocol.epochs": 2, "protocol.max_train": 80}
SETS = ["--set", "protocol.epochs=2", "--set", "protocol.max_train=80"]


def tune(out: Path, methods: list[str] | None = None, trials: int = 3, **changes: Any) -> dict[str, Any]:
    given = {"dataset": "digits-lt", "protocol": "quick", "overrides": FAST, "device": "cpu", **changes}
    path, _ = tuning.tune(methods=methods or ["ce"], trials=trials, out=out, **given)
    assert path is not None
    return {"path": path, **json.loads(path.read_text())}


def run(out: Path, file: Path | None, method: str = "ce", **changes: Any) -> Any:
    overrides = {**FAST, **({"tuned": str(file)} if file else {}), **changes.pop("overrides", {})}
    given = {"dataset": "digits-lt", "protocol": "quick", "device": "cpu", "seed": 0, **changes}
    return ltbench.run(method=method, out=out, overrides=overrides, **given)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Where two methods were tuned, and the content of the file with its path."""
    out = tmp_path_factory.mktemp("tuned")
    return out, tune(out, ["ce", "focal"], 4)


def records(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob(trials.TRIAL)}


def test_the_file_holds_equal_budgets_every_trial_and_the_best(tuned: tuple[Path, dict[str, Any]]) -> None:
    _, content = tuned
    assert content["where"]["dataset"] == "digits-lt" and content["metric"] == "macro_f1"
    for name, entry in content["methods"].items():
        scores = [trial["score"] for trial in entry["trials"]]
        assert len(scores) == 4 and entry["trials"][0]["options"] == {}
        assert entry["score"] == max(scores) and entry["best"] == scores.index(max(scores))
        assert entry["options"] == entry["trials"][entry["best"]]["options"]
        assert entry["seconds"] == pytest.approx(sum(trial["seconds"] for trial in entry["trials"]), abs=0.01)
        assert ("loss.gamma" in entry["trials"][1]["options"]) == (name == "focal")
    rates = [[t["options"].get("protocol.optimizer.lr") for t in e["trials"]] for e in content["methods"].values()]
    assert rates[0] == rates[1]


def test_a_trial_is_the_cell_that_a_run_with_its_options_trains(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, content = tuned
    trial = content["methods"]["focal"]["trials"][2]
    result = run(tmp_path, None, "focal", seed=1000, overrides=trial["options"])
    assert result.data["selection"]["score"] == trial["score"]
    assert result.data["selection"]["epoch"] == trial["epoch"]


def test_the_test_part_is_never_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[str] = []
    predict = Evaluator.predict

    def spy(self: Evaluator, images: Any, part: str) -> Any:
        parts.append(part)
        return predict(self, images, part)

    monkeypatch.setattr(Evaluator, "predict", spy)
    monkeypatch.setattr("ltbench.engine.finish.finish", lambda *args: pytest.fail("a trial was finished like a cell"))
    tune(tmp_path, ["ce", "crt"], 2)
    assert parts and set(parts) == {"val"}


def test_a_trial_that_reaches_for_the_test_part_meets_a_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Peeking:
        def __init__(self, **given: Any) -> None:
            self.data = given["data"]
            len(self.data.val), self.data.test.images

    monkeypatch.setattr("ltbench.engine.context.CellContext", Peeking)
    with pytest.raises(TestIsSealed, match="'images' of the test part"):
        tune(tmp_path)


def test_finished_trials_are_kept_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    first = tune(tmp_path, trials=2)
    before = records(tmp_path)
    again = tune(tmp_path, trials=2)
    assert again == first and records(tmp_path) == before
    more = tune(tmp_path, trials=3)
    assert more["methods"]["ce"]["trials"][:2] == first["methods"]["ce"]["trials"]
    assert before.items() < records(tmp_path).items() and more["path"] != first["path"]


def test_methods_tuned_one_by_one_come_into_one_file(tmp_path: Path, tuned: tuple[Path, dict[str, Any]]) -> None:
    one, both = tune(tmp_path, ["ce"], 2), tune(tmp_path, ["focal"], 2)
    assert one["path"] == both["path"] and set(both["methods"]) == {"ce", "focal"}
    assert both["methods"]["ce"] == one["methods"]["ce"]
    _, together = tuned
    scores = [trial["score"] for trial in together["methods"]["focal"]["trials"][:2]]
    assert [trial["score"] for trial in both["methods"]["focal"]["trials"]] == scores  # alone or beside others


def test_a_killed_tuning_ends_as_an_undisturbed_one(
    tmp_path: Path, tuned: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", "--methods", "ce", "focal", "--dataset", "digits-lt", "--protocol", "quick", "--trials", "4"]
    command = [sys.executable, "-m", "ltbench.cli", *words, *SETS, "--device", "cpu", "--out", str(tmp_path)]
    child = subprocess.Popen(command, env={**os.environ}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while not list(tmp_path.rglob("checkpoint.pt")) or len(records(tmp_path)) < 1:
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = records(tmp_path)
    content = tune(tmp_path, ["ce", "focal"], 4)
    assert before.items() <= records(tmp_path).items()
    for name, entry in tuned[1]["methods"].items():
        kept = ("options", "best", "score", "default")
        assert {key: content["methods"][name][key] for key in kept} == {key: entry[key] for key in kept}
    assert not list(tmp_path.rglob("*.pt"))
    assert main([*words, *SETS, "--device", "cpu", "--out", str(tmp_path)]) == 0
    assert f" --device cpu --out {tmp_path} --seeds 0-2 --tuned {content['path']}" in capsys.readouterr().out


def test_trials_are_no_cells(tuned: tuple[Path, dict[str, Any]]) -> None:
    out, _ = tuned
    assert records(out)
    assert not list(iter_results(out / "tuning")) and not status(out / "tuning")


def test_a_tuned_cell_records_its_tuning_and_is_charged(tuned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, content = tuned
    entry = content["methods"]["focal"]
    plain, result = run(tmp_path, None, "focal"), run(tmp_path, content["path"], "focal")
    assert result.cell["method"] == "focal" and result.cell["protocol"] == plain.cell["protocol"]
    recorded = result.cell["recipe"]["tuning"]
    assert {key: recorded[key] for key in ("trials", "seed", "best", "score", "seconds")} == {
        **{key: entry[key] for key in ("best", "score", "seconds")},
        "trials": 4,
        "seed": 1000,
    }
    from ltbench.results.files import sha256

    assert result.cell["tuned_file"] == {"name": content["path"].name, "sha256": sha256(content["path"])}
    for key, value in entry["options"].items():
        section: Any = result.cell["recipe"]
        for part in key.split("."):
            section = section[part]
        assert section == value
    cost = result.data["cost"]
    assert cost["phases"]["tuning"]["seconds"] == entry["seconds"] and cost["phases"]["tuning"]["cached"]
    assert cost["total_seconds"] == pytest.approx(sum(phase["seconds"] for phase in cost["phases"].values()))
    assert result.row()["device_seconds"] == pytest.approx(cost["total_seconds"])
    assert not verify(result.folder)
    assert "tuning" not in plain.cell["recipe"] and plain.folder != result.folder
    data = json.loads((result.folder / "result.json").read_text())
    data["cost"]["phases"]["tuning"]["seconds"] = 0.0
    (result.folder / "result.json").write_text(json.dumps(data))
    assert any("0.0 s are charged" in problem for problem in verify(result.folder))


def test_where_the_defaults_win_the_tuned_row_is_still_another(tmp_path: Path) -> None:
    content = tune(tmp_path, trials=1)
    plain, result = run(tmp_path, None), run(tmp_path, content["path"])
    assert content["methods"]["ce"]["options"] == {}
    assert plain.cell["hash"] != result.cell["hash"]
    assert plain.metrics == result.metrics  # the same training
    seed = run(tmp_path, content["path"], seed=1000)
    assert any("is that of tuning" in warning for warning in seed.data["warnings"])


def test_tables_keep_tuned_and_untuned_rows_apart(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tuned[1]["path"])
    words = ["sweep", "--methods", "ce", "focal", "--dataset", "digits-lt", "--protocol", "quick", *SETS]
    words += ["--device", "cpu", "--out", str(tmp_path), "--seeds", "0"]
    assert main(words) == 0 and main([*words, "--tuned", file]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "--all", "--out", str(tmp_path), "--no-statistics"]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("digits-lt,")]
    assert len(titles) == 2
    assert "untuned defaults, percent" in titles[0] and "tuned, 4 trials a method (seed 1000), percent" in titles[1]
    for flag in ([], ["--tuned"]):
        assert main(["compare", "ce", "focal", "--out", str(tmp_path), *flag]) == 0
    assert main([*words[:2], "sqrt", *words[4:]]) == 0
    assert main(["compare", "ce", "sqrt", "--out", str(tmp_path), "--tuned"]) == 2
    assert "method 'sqrt' has no tuned result here; tune it first" in capsys.readouterr().err
    assert main(["leaderboard", "--all", "--tail", "--out", str(tmp_path)]) == 0
    cards = [line for line in capsys.readouterr().out.splitlines() if line.startswith("recall by class")]
    assert len(cards) == 2 and "tuned, 4 trials a method (seed 1000), percent" in cards[1]
    assert main(["leaderboard", "--all", "--ranks", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("mean ranks by") == 2


def test_dry_run_shows_where_each_value_is_from(
    tuned: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--method", "focal", "--dataset", "digits-lt", "--protocol", "quick", *SETS, "--dry-run"]
    assert main([*words, "--tuned", str(tuned[1]["path"])]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    options = tuned[1]["methods"]["focal"]["options"]
    assert options and all(lines[key][1:] == [str(value), "tuned"] for key, value in options.items())
    assert lines["tuning.trials"][1] == "4"


@pytest.mark.parametrize(
    ("method", "changes", "text"),
    [
        ("ce", {"dataset": "aptos"}, "tuned with dataset digits-lt, this cell has aptos"),
        ("ce", {"protocol": "iois2024"}, r"tuned with protocol quick\+epochs=2\+max_train=80, this cell has iois2024"),
        ("ce", {"overrides": {"protocol.epochs": 3}}, r"this cell has quick\+epochs=3"),
        ("ce", {"overrides": {"dataset.imbalance": 30}}, "tuned with imbalance None, this cell has 30"),
        ("ce", {"overrides": {"protocol.split_seed": 1}}, "tuned with split_seed 0, this cell has 1"),
        ("sqrt", {}, "holds no options of method 'sqrt', only of ce, focal; tune it: ltbench tune --methods sqrt"),
        ("focal", {"overrides": {"loss.gamma": 1.0}}, r"no options of method 'focal\+loss.gamma=1.0'"),
    ],
)
def test_a_file_is_for_its_data_protocol_and_methods(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path, method: str, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        run(tmp_path, tuned[1]["path"], method, **changes)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_version_or_of_other_images_is_refused(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench_losses.ce import CrossEntropy

    monkeypatch.setattr(CrossEntropy, "version", 99)
    with pytest.raises(UserError, match=r"with another recipe or version of ce than this cell has; tune again"):
        run(tmp_path, tuned[1]["path"])
    monkeypatch.undo()
    from ltbench.launch import local

    changed = local.load_data

    def other(*args: Any) -> Any:
        from dataclasses import replace

        return replace(changed(*args), content="other")

    monkeypatch.setattr(local, "load_data", other)
    with pytest.raises(UserError, match="on other data than this cell has"):
        run(tmp_path, tuned[1]["path"])


@pytest.mark.parametrize(
    ("damage", "error", "text"),
    [
        (lambda text: text[:200], CheckpointError, "is damaged"),
        (lambda text: "[]", CheckpointError, "no file of ltbench tune"),
        (lambda text: text.replace('"trials": 4', '"trials": 40'), CheckpointError, "changed by hand"),
        (lambda text: re.sub(r'"sha256": ".*"', '"sha256": ""', text), CheckpointError, "changed by hand"),
        (None, UserError, "there is no tuned file"),
    ],
)
def test_a_damaged_file_is_refused(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path, damage: Any, error: type[LtbenchError], text: str
) -> None:
    path = tmp_path / "tuned.json"
    if damage:
        path.write_text(damage(tuned[1]["path"].read_text()))
    with pytest.raises(error, match=text):
        read_tuned(path)


def test_a_damaged_trial_is_named(tmp_path: Path) -> None:
    tune(tmp_path, trials=2)
    path = next(iter(records(tmp_path)))
    path.write_text(path.read_text()[:50])
    with pytest.raises(CheckpointError, match=rf"{re.escape(str(path))} is damaged .*remove it"):
        tune(tmp_path, trials=2)


@pytest.mark.parametrize("number", [0, -3])
def test_a_budget_below_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    words = ["tune", "--methods", "ce", "--dataset", "digits-lt", "--trials", str(number), "--out", str(tmp_path)]
    assert main(words) == 2
    assert f"--trials must be a whole number of at least 1, got {number}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_to_tune_wrong_names_and_wrong_spaces_stop_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench_losses.focal import Focal

    with pytest.raises(UserError, match=r"method 'ce' has nothing to tune under protocol quick\+optimizer"):
        overrides = {"optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0}}
        tune(tmp_path, ["focal", "ce"], overrides=overrides)
    with pytest.raises(UserError, match=r"unknown method 'foca'\. Did you mean focal"):
        tune(tmp_path, ["ce", "foca"])
    monkeypatch.setattr(Focal, "SEARCH", {"gama": ("log", 0.5, 5)})
    with pytest.raises(UserError, match=r"no option 'gama'\. Did you mean gamma"):
        tune(tmp_path, ["ce", "focal"])
    assert not list(tmp_path.iterdir())


def test_validation_that_is_the_test_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"validation part of protocol .* is its test part"):
        tune(tmp_path, overrides={**FAST, "protocol.split": "80-20-released"})


def test_diverged_trials_lose_and_all_of_them_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.models.standard import StandardClassifier

    train, bad = StandardClassifier.train_epoch, {0.02, "Focal"}

    def sometimes(self: Any, batches: Any, context: Any) -> Any:
        if {self.protocol["optimizer"]["lr"], type(self.loss).__name__} & bad:
            raise NonFinite("the training loss became nan")
        return train(self, batches, context)

    monkeypatch.setattr(StandardClassifier, "train_epoch", sometimes)
    entry = tune(tmp_path, trials=3)["methods"]["ce"]
    assert entry["default_score"] is None and entry["best"] > 0
    assert entry["trials"][0]["error"] == "the training loss became nan"
    bad.discard(0.02)
    out = tmp_path / "all"
    with pytest.raises(
        Diverged, match=r"every trial of focal diverged: the training loss .* other methods are in .*json"
    ):
        tune(out, ["focal", "sqrt"], 1)
    (file,) = out.glob("tuning/digits-lt/*.json")
    assert list(read_tuned(file).data["methods"]) == ["sqrt"]


def test_fits_are_charged_once_and_those_of_the_best_to_the_cell() -> None:
    def record(train: float, **fits: tuple[str, float]) -> dict[str, Any]:
        phases = {"train": {"seconds": train}} | {f"fit {k}": {"seconds": s} for k, (_, s) in fits.items()}
        return {"phases": phases, "fits": {name: digest for name, (digest, _) in fits.items()}}

    trio = [record(1, g=("a", 100)), record(2, g=("a", 100)), record(3, g=("b", 50))]
    assert trials.total_seconds(trio, best=0) == 6 + 50
    assert trials.total_seconds(trio, best=2) == 6 + 100


def test_an_estimate_leaves_tuning_out(tuned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from ltbench.launch.local import _seconds

    result = run(tmp_path, tuned[1]["path"])
    whole = result.data["cost"]["total_seconds"]
    assert _seconds(result.folder / "result.json") == pytest.approx(whole - tuned[1]["methods"]["ce"]["seconds"])


def test_a_trial_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    job = gather("ce", "digits-lt", "quick", 1000, FAST, None, "cpu")
    folder = job.cell.folder(tmp_path / "tuning")
    folder.mkdir(parents=True)
    lock = filelock.FileLock(folder / "lock", is_singleton=False)
    lock.acquire()
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        lock.release()

    monkeypatch.setattr(tuning.time, "sleep", sleep)
    assert len(tune(tmp_path, trials=2)["methods"]["ce"]["trials"]) == 2 and waited == [1]
