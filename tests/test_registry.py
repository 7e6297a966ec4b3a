"""The catalogue: names, near misses, options, two plugins with one id, plugins that cannot be loaded."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

import ltbench
import ltbench.plugins
from ltbench.cli import main
from ltbench.errors import PluginError, UnknownName, UserError
from ltbench.interfaces import Loss
from ltbench.registry import Registry


def half(logits, targets, *, factor=0.5):
    """A loss function."""
    return factor * logits.sum()


class Needy(Loss):
    """A loss with an option that has no default."""

    def __init__(self, *, scale):
        self.scale = scale

    def loss(self, logits, targets):
        return logits.sum() * self.scale


@pytest.fixture
def registry():
    made = Registry()
    with made.filling("mine"):
        made.add("loss", "half", f"{__name__}:half", summary="a function")
        made.add("loss", "needs-scale", f"{__name__}:Needy", summary="a class")
        made.add("loss", "absent", "no_such_module:X", summary="cannot be imported")
    return made


def test_names_and_underscores(registry):
    assert registry.names("loss") == ["absent", "half", "needs-scale"]
    assert registry.get("loss", "needs_scale").id == "needs-scale"
    assert ltbench.build("sampler", "class_balanced") is not None
    with pytest.raises(UnknownName, match=r"unknown loss 'halv'\. Did you mean half\? See all: ltbench list loss"):
        registry.get("loss", "halv")
    with pytest.raises(UnknownName, match=r"unknown kind 'losses'\. Did you mean loss or"):
        registry.names("losses")


def test_function_losses_take_options(registry):
    import torch

    component = registry.get("loss", "half")
    assert component.options() == {"factor": 0.5}
    assert float(component.build(factor=2.0).loss(torch.ones(2, 2), None)) == 8
    with pytest.raises(UnknownName, match=r"has no option 'facter'\. Did you mean factor\? It has: factor"):
        component.build(facter=1)


def test_required_options_and_broken_targets(registry):
    with pytest.raises(UserError, match=r"needs the option scale: --set loss.scale=VALUE"):
        registry.get("loss", "needs-scale").build()
    with pytest.raises(PluginError, match="'absent' of plugin 'mine' cannot be imported from no_such_module:X"):
        registry.get("loss", "absent").build()


@pytest.mark.parametrize(
    ("kind", "id", "target"),
    [
        ("loose", "a", "m:A"),
        ("loss", "Upper", "m:A"),
        ("loss", "under_score", "m:A"),
        ("loss", "a", "m.A"),
    ],
)
def test_bad_entries_are_refused(registry, kind, id, target):
    with pytest.raises(PluginError):
        registry.add(kind, id, target, summary="")


def test_two_plugins_with_one_id_are_both_named_and_neither_is_used(registry):
    with registry.filling("theirs"):
        registry.add("loss", "half", "other:half", summary="another")
    with pytest.raises(PluginError, match="offered by two plugins, mine and theirs"):
        registry.get("loss", "half")
    registry.forget("theirs")
    assert registry.get("loss", "half").plugin == "mine"


def test_two_plugins_with_one_id_on_the_command_line(capsys):
    live = ltbench.plugins.plugins().registry
    with live.filling("stranger"):
        live.add("loss", "focal", "stranger:Focal", summary="another focal")
    try:
        status = main(["run", "--method", "ce", "--dataset", "digits-lt", "--set", "loss=focal", "--dry-run"])
    finally:
        live.forget("stranger")
    assert status == 2
    error = capsys.readouterr().err
    assert "ltbench_losses" in error
    assert "stranger" in error


@pytest.fixture
def with_plugins(monkeypatch):
    """Install modules as plugins beside the real ones; gives a function that loads them."""

    def load(**modules: ModuleType):
        points = list(importlib.metadata.entry_points(group=ltbench.plugins.GROUP))
        for name, module in modules.items():
            if module is not None:
                monkeypatch.setitem(sys.modules, name, module)
            points.append(EntryPoint(name, name, ltbench.plugins.GROUP))
        real = importlib.metadata.entry_points
        ours = lambda **of: points if of.get("group") == ltbench.plugins.GROUP else real(**of)  # noqa: E731
        monkeypatch.setattr(importlib.metadata, "entry_points", ours)
        ltbench.plugins.plugins.cache_clear()
        return ltbench.plugins.plugins()

    yield load
    monkeypatch.undo()
    ltbench.plugins.plugins.cache_clear()


def test_broken_plugins_are_left_out_and_listed(with_plugins, capsys):
    old = ModuleType("stranger_old")
    old.LTBENCH_API = 99
    half_way = ModuleType("stranger_half")

    @ltbench.hookimpl
    def ltbench_register(registry):
        registry.add("loss", "half-way", "x:Y", summary="")
        raise ValueError("broken in the middle")

    half_way.ltbench_register = ltbench_register
    loaded = with_plugins(stranger_old=old, stranger_half=half_way, stranger_missing=None)
    errors = {q.name: q.error for q in loaded.quarantined}
    assert "written for plugin API 99, this ltbench has API 1; update the plugin" in errors["stranger_old"]
    assert "broken in the middle" in errors["stranger_half"]
    assert "ModuleNotFoundError" in errors["stranger_missing"]
    assert "half-way" not in loaded.registry.names("loss")
    assert "ce" in loaded.registry.names("loss")
    for name in errors:
        assert not loaded.manager.has_plugin(f"{name}={name}")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(f"left out: plugin {name}" in out for name in errors)
    with pytest.raises(
        UnknownName, match=r"unknown loss 'half-way'.*Not loaded: .*stranger_half \(ValueError: broken in"
    ):
        loaded.registry.get("loss", "half-way")
    assert main(["check", "half-way"]) == 2
    assert "stranger_half (ValueError: broken in the middle)" in capsys.readouterr().err


def test_events_reach_plugins(with_plugins):
    seen = []
    watcher = ModuleType("watcher")

    @ltbench.hookimpl
    def ltbench_cell_started(cell):
        seen.append(cell)

    watcher.ltbench_cell_started = ltbench_cell_started
    with_plugins(watcher=watcher).events.ltbench_cell_started(cell="this")
    assert seen == ["this"]


def test_a_listener_that_fails_is_reported_once_and_stops_nobody(with_plugins):
    seen = []

    def module(name, **hooks):
        made = ModuleType(name)
        for hook, function in hooks.items():
            function.__name__ = hook
            setattr(made, hook, ltbench.hookimpl(function))
        return made

    def broken(cell, epoch, log):
        raise OSError("disk full")

    def started(cell):
        raise RuntimeError("no network")

    def told(cell, epoch, log):
        seen.append((epoch, log["step"]))

    loaded = with_plugins(
        a_last=module("a_last", ltbench_epoch_finished=told),
        bad=module("bad", ltbench_epoch_finished=broken, ltbench_cell_started=started),
        z_first=module("z_first", ltbench_epoch_finished=told),
    )
    events = loaded.events
    with pytest.warns(
        UserWarning, match=r"plugin bad=bad failed in ltbench_epoch_finished \(OSError: disk full\)"
    ) as got:
        for epoch in range(3):
            events.ltbench_epoch_finished(cell="this", epoch=epoch, log={"step": epoch})
        events.ltbench_cell_started(cell="this")
    assert len(got) == 1 and seen == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (2, 2)]


def test_ctrl_c_in_a_listener_ends_the_cell(with_plugins):
    pressed = ModuleType("pressed")

    @ltbench.hookimpl
    def ltbench_cell_finished(cell, result):
        raise KeyboardInterrupt

    pressed.ltbench_cell_finished = ltbench_cell_finished
    with pytest.raises(KeyboardInterrupt):
        with_plugins(pressed=pressed).events.ltbench_cell_finished(cell="this", result=None)
