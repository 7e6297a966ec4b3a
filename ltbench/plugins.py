"""The hook specification and the plugin manager: finds plugins, quarantines the broken ones."""

from __future__ import annotations

import traceback
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ltbench.registry import Registry

API_VERSION = 1
GROUP = "ltbench"

hookspec = pluggy.HookspecMarker("ltbench")
hookimpl = pluggy.HookimplMarker("ltbench")


class Hooks:
    """What a plugin may implement."""

    @hookspec
    def ltbench_register(self, registry: Registry) -> None:
        """Add components to the catalogue."""

    @hookspec
    def ltbench_cell_started(self, cell: Any) -> None:
        """A cell begins or resumes."""

    @hookspec
    def ltbench_epoch_finished(self, cell: Any, epoch: int, log: dict[str, Any]) -> None:
        """An epoch, counted within its stage from 0, was trained and validated; its checkpoint follows.

        log: its line of the history and "step", the epoch counted over all stages. A cell that was killed before the
        checkpoint tells the same step again when it resumes.
        """

    @hookspec
    def ltbench_cell_finished(self, cell: Any, result: Any) -> None:
        """A cell has its result on disk."""


@dataclass(frozen=True)
class Quarantined:
    """A plugin that could not be loaded; `error` is one line, `details` the traceback."""

    name: str
    target: str
    error: str
    details: str


class Events:
    """Tells plugins of events; one that raises is reported once and stops neither a cell nor the others."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager, self._failed = manager, set[str]()

    def ltbench_cell_started(self, *, cell: Any) -> None:
        """A cell begins or resumes."""
        self._tell("ltbench_cell_started", cell=cell)

    def ltbench_epoch_finished(self, *, cell: Any, epoch: int, log: dict[str, Any]) -> None:
        """An epoch was trained and validated."""
        self._tell("ltbench_epoch_finished", cell=cell, epoch=epoch, log=log)

    def ltbench_cell_finished(self, *, cell: Any, result: Any) -> None:
        """A cell has its result on disk."""
        self._tell("ltbench_cell_finished", cell=cell, result=result)

    def _tell(self, event: str, **facts: Any) -> None:
        for listener in reversed(getattr(self._manager.hook, event).get_hookimpls()):
            try:
                listener.function(*(facts[name] for name in listener.argnames))
            except Exception as error:
                if listener.plugin_name in self._failed:
                    continue
                self._failed.add(listener.plugin_name)
                warnings.warn(
                    f"plugin {listener.plugin_name} failed in {event} ({type(error).__name__}: {error}); "
                    "the cell goes on, and further failures of this plugin are not shown",
                    stacklevel=3,
                )


@dataclass(frozen=True)
class Plugins:
    """The loaded plugins, their catalogue, those that were left out, and `events`, which tells them what happens."""

    manager: pluggy.PluginManager
    registry: Registry
    quarantined: tuple[Quarantined, ...]
    events: Events


def _load(point: EntryPoint, manager: pluggy.PluginManager, registry: Registry) -> None:
    module = point.load()
    wanted = getattr(module, "LTBENCH_API", API_VERSION)
    if wanted != API_VERSION:
        raise RuntimeError(f"written for plugin API {wanted}, this ltbench has API {API_VERSION}; update the plugin")
    manager.register(module, name=f"{point.name}={point.value}")
    with registry.filling(point.value):
        implementation = getattr(module, "ltbench_register", None)
        if implementation is not None:
            implementation(registry=registry)


@cache
def plugins() -> Plugins:
    """Load every entry point of the group "ltbench" once; one broken plugin never stops the others."""
    from importlib.metadata import entry_points  # a third of what a table of stored results would import

    from ltbench.registry import Registry

    manager = pluggy.PluginManager("ltbench")
    manager.add_hookspecs(Hooks)
    registry = Registry()
    broken = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.value):
        try:
            _load(point, manager, registry)
        except Exception as error:
            registry.forget(point.value)
            if manager.has_plugin(f"{point.name}={point.value}"):
                manager.unregister(name=f"{point.name}={point.value}")
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            broken.append(Quarantined(point.name, point.value, line, traceback.format_exc()))
            registry.left_out.append(f"{point.value} ({line})")
    return Plugins(manager, registry, tuple(broken), Events(manager))
