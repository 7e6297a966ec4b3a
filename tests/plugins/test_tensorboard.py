"""The TensorBoard tracker: what its event files hold, over kills and stages; off unless asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ltbench_tensorboard import VARIABLE, tracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ltbench
from ltbench.plugins import plugins

FAST = {"protocol.epochs": 3, "protocol.max_train": 80}


class Stop(BaseException):
    """As good as a kill: no handler of an event may swallow it."""


class StopAt:
    """Stops when an event of this step was told, the tracker being told before."""

    def __init__(self, step: int) -> None:
        self.step = step

    @ltbench.hookimpl(trylast=True)
    def ltbench_epoch_finished(self, cell: Any, epoch: int, log: dict[str, Any]) -> None:
        if log["step"] == self.step:
            raise Stop


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "logs"))
    yield tmp_path / "logs"
    for writer in tracker.open_writers.values():
        writer.close()
    tracker.open_writers.clear()


def run(tmp_path: Path, method: str = "ce", **changes: Any) -> Any:
    options = {"overrides": FAST, "out": tmp_path / "runs", "device": "cpu", **changes}
    return ltbench.run(method=method, dataset="digits-lt", protocol="quick", **options)


def stopped(step: int, *args: Any, **changes: Any) -> None:
    """The run, ended at the event of a step as a kill would; the next attempt is a process that knows of nothing."""
    manager, stopper = plugins().manager, StopAt(step)
    manager.register(stopper)
    try:
        with pytest.raises(Stop):
            run(*args, **changes)
    finally:
        manager.unregister(stopper)
        for writer in tracker.open_writers.values():
            writer.flush()
        tracker.open_writers.clear()


def read(logs: Path) -> EventAccumulator:
    (folder,) = {path.parent for path in logs.rglob("events.out.tfevents.*")}
    return EventAccumulator(str(folder)).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(tag)]


def test_a_run_holds_every_epoch_the_test_metrics_and_the_recipe(tmp_path: Path, logs: Path) -> None:
    result = run(tmp_path)
    events, cell = read(logs), result.cell
    assert Path(events.path) == logs / "digits-lt" / "ce" / cell["protocol"] / result.folder.name
    for tag in ("loss", "val_score", "lr", "images"):
        assert scalars(events, tag) == [(k, line[tag]) for k, line in enumerate(result.history)]
    assert scalars(events, "test/macro_f1") == [(0, result.metrics["macro_f1"])]
    assert not {"epoch", "step", "stage"} & set(events.Tags()["scalars"])
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    shown = HParamsPluginData.FromString(content).session_start_info.hparams
    assert shown["method"].string_value == "ce"
    assert shown["protocol.optimizer.lr"].number_value == pytest.approx(0.02)
    assert not tracker.open_writers


def test_stages_are_counted_on_and_a_killed_cell_logs_no_epoch_twice(tmp_path: Path, logs: Path) -> None:
    stopped(2, tmp_path, "crt")  # logged, not yet in the checkpoint
    stopped(3, tmp_path, "crt")  # the first epoch of the second stage
    result = run(tmp_path, "crt")
    assert [line["epoch"] for line in result.history] == [0, 1, 2, 0]
    events = read(logs)
    assert scalars(events, "loss") == [(k, line["loss"]) for k, line in enumerate(result.history)]
    assert len(list(Path(events.path).glob("events.*"))) == 3


def test_a_forced_cell_replaces_its_curves(tmp_path: Path, logs: Path) -> None:
    run(tmp_path)
    result = run(tmp_path, force=True)
    assert [step for step, _ in scalars(read(logs), "loss")] == [0, 1, 2]
    run(tmp_path)  # reused: no event
    assert len(list(logs.rglob("events.*"))) == 2
    assert len(result.history) == 3


def test_it_is_off_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(tracker, "_writer", lambda *args: pytest.fail("a writer was opened"))
    run(tmp_path, overrides={**FAST, "protocol.epochs": 1})


def test_a_folder_that_cannot_be_written_costs_a_warning_not_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    monkeypatch.setattr(plugins().events, "_failed", set())
    with pytest.warns(UserWarning, match=r"plugin tensorboard=ltbench_tensorboard failed in ltbench_epoch_fin") as told:
        result = run(tmp_path)
    assert sum("tensorboard" in str(w.message) for w in told) == 1 and len(result.history) == 3


def test_a_missing_package_is_named(tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(plugins().events, "_failed", set())
    with pytest.warns(UserWarning, match=r"pip install 'ltbench\[tensorboard\]'"):
        assert run(tmp_path, overrides={**FAST, "protocol.epochs": 1}).metrics
