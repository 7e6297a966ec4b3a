"""The hook specification and the plugin manager: finds plugins, quarantines the broken ones."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
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
        """An epoch was trained, validated and checkpointed."""

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


@dataclass(frozen=True)
class Plugins:
    """The loaded plugins, their catalogue and those that were left out."""

    manager: pluggy.PluginManager
    registry: Registry
    quarantined: tuple[Quarantined, ...]

    @property
    def events(self) -> Any:
        """Call `events.ltbench_cell_started(cell=...)` and its siblings."""
        return self.manager.hook


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
    return Plugins(manager, registry, tuple(broken))
