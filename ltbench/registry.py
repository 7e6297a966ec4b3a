"""The catalogue: kind and id -> component, loaded only when built."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ltbench.errors import PluginError, UnknownName, UserError

CODE_KINDS = ("dataset", "loss", "sampler", "generator", "classifier", "metric")
DATA_KINDS = ("protocol", "method")
KINDS = CODE_KINDS + DATA_KINDS


def nearest(name: str, known: Iterator[str] | list[str]) -> str:
    """A "did you mean" clause for an unknown name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""


@dataclass(frozen=True)
class Component:
    """One entry of the catalogue; `target` is "module:Name" and is imported on first use of `value`."""

    kind: str
    id: str
    target: str
    summary: str
    cite: str
    plugin: str

    @cached_property
    def value(self) -> Any:
        """The class, factory, function or dict behind the entry."""
        module, _, name = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except Exception as error:
            raise PluginError(
                f"{self.kind} {self.id!r} of plugin {self.plugin!r} cannot be imported from {self.target}: "
                f"{type(error).__name__}: {error}"
            ) from error

    @property
    def version(self) -> int:
        """Raised by its author when its results change."""
        return int(getattr(self.value, "version", 1))

    def options(self) -> dict[str, Any]:
        """Option name -> default (inspect.Parameter.empty where required), from the constructor or function."""
        signature = inspect.signature(self.value)
        plain = inspect.isfunction(self.value) and self.kind == "loss"
        names = list(signature.parameters.values())[2 if plain else 0 :]
        return {p.name: p.default for p in names if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}

    def build(self, **options: Any) -> Any:
        """An instance; unknown options raise UnknownName with the nearest matches."""
        options = {name.replace("-", "_"): value for name, value in options.items()}
        self.check_options(options)
        target = self.value
        if inspect.isfunction(target) and self.kind == "loss":
            return _function_loss(target, options)
        return target(**options)

    def defaults(self) -> dict[str, Any]:
        """Option name -> default, of the options that have one."""
        return {name: value for name, value in self.options().items() if value is not inspect.Parameter.empty}

    def search(self) -> dict[str, Any]:
        """Option name -> search space as plain data, of the options that may be tuned; UnknownName for no option."""
        spaces = dict(getattr(self.value, "SEARCH", {}))
        self.check_options_names(spaces)
        return spaces

    def settled(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options without those that its class calls later ones and that are at their default."""
        later: frozenset[str] = getattr(self.value, "later_options", frozenset())
        defaults = self.defaults()
        return {k: v for k, v in options.items() if k not in later or v != defaults[k]}

    def check_options_names(self, options: Mapping[str, Any]) -> None:
        """Raise UnknownName for an option that the component does not have."""
        known = self.options()
        for name in options:
            if name not in known:
                raise UnknownName(
                    f"{self.kind} {self.id!r} has no option {name!r}.{nearest(name, list(known))} "
                    f"It has: {', '.join(known) or 'none'}. See: ltbench show {self.kind} {self.id}"
                )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise UnknownName for an unknown option, UserError for a missing one."""
        self.check_options_names(options)
        missing = [n for n, d in self.options().items() if d is inspect.Parameter.empty and n not in options]
        if missing:
            raise UserError(
                f"{self.kind} {self.id!r} needs the option{'s' if len(missing) > 1 else ''} {', '.join(missing)}: "
                f"--set {self.kind}.{missing[0]}=VALUE"
            )


def _function_loss(function: Any, options: dict[str, Any]) -> Any:
    from ltbench.interfaces import Loss

    class FunctionLoss(Loss):
        def loss(self, logits: Any, targets: Any) -> Any:
            return function(logits, targets, **options)

    return FunctionLoss()


class Registry:
    """The catalogue; a plugin fills it in `ltbench_register(registry)`."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], list[Component]] = {}
        self.left_out: list[str] = []  # broken plugins, each with its error: what is unknown may be theirs
        self._plugin = "ltbench"

    @property
    def hint(self) -> str:
        """For an unknown name: the plugins that could not be loaded, "" where all were."""
        return f". Not loaded: {'; '.join(self.left_out)}" if self.left_out else ""

    @contextmanager
    def filling(self, plugin: str) -> Iterator[None]:
        """Attribute what is added inside to this plugin."""
        before, self._plugin = self._plugin, plugin
        try:
            yield
        finally:
            self._plugin = before

    def add(self, kind: str, id: str, target: str, *, summary: str, cite: str = "") -> None:
        """Offer a component: `target` is "module:Name" of a class, factory, loss function or dict."""
        if kind not in KINDS:
            raise PluginError(f"unknown kind {kind!r} of {id!r} in plugin {self._plugin!r}; kinds: {', '.join(KINDS)}")
        if ":" not in target or id != id.lower() or "_" in id:
            raise PluginError(f"{kind} {id!r}: the id must be lower-kebab and the target 'module:Name', got {target!r}")
        self._entries.setdefault((kind, id), []).append(Component(kind, id, target, summary, cite, self._plugin))

    def forget(self, plugin: str) -> None:
        """Remove everything a plugin added."""
        for key in list(self._entries):
            self._entries[key] = [c for c in self._entries[key] if c.plugin != plugin]
            if not self._entries[key]:
                del self._entries[key]

    def names(self, kind: str) -> list[str]:
        """Sorted ids of a kind."""
        if kind not in KINDS:
            raise UnknownName(f"unknown kind {kind!r}.{nearest(kind, list(KINDS))} Kinds: {', '.join(KINDS)}")
        return sorted(id for k, id in self._entries if k == kind)

    def get(self, kind: str, id: str) -> Component:
        """The component, `_` accepted for `-`; unknown or doubly offered ids raise."""
        known = self.names(kind)
        found = self._entries.get((kind, str(id).replace("_", "-")))
        if not found:
            raise UnknownName(
                f"unknown {kind} {id!r}.{nearest(str(id), known)} See all: ltbench list {kind}{self.hint}"
            )
        if len(found) > 1:
            raise PluginError(
                f"{kind} {id!r} is offered by two plugins, {' and '.join(c.plugin for c in found)}; "
                "uninstall one of them"
            )
        return found[0]

    def all(self) -> list[Component]:
        """Every entry, sorted by kind and id."""
        return [c for key in sorted(self._entries, key=lambda k: (KINDS.index(k[0]), k[1])) for c in self._entries[key]]
