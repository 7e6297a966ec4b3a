"""Short cells of digits-lt and the stand-in plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plugins_under_test
import pytest

import ltbench
from ltbench.plugins import plugins

FAST = {"protocol.epochs": 2}


@pytest.fixture
def stand_ins() -> Iterator[Any]:
    """The registry with the plugin "under-test" in it."""
    registry = plugins().registry
    plugins_under_test.register(registry)
    yield registry
    registry.forget("under-test")


@pytest.fixture
def cell(tmp_path: Path, stand_ins: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a short cell: cell("ce", {"loss.gamma": 1}, out="a", seed=1)."""

    monkeypatch.setattr("ltbench.engine.finish.draw_samples", lambda *args: None)  # seconds of drawing

    def run(method: str, overrides: dict[str, Any] | None = None, *, out: str = "runs", **rest: Any) -> Any:
        chosen = {**FAST, **(overrides or {})}
        return ltbench.run(method, "digits-lt", "quick", overrides=chosen, out=tmp_path / out, device="cpu", **rest)

    return run


class Stop(BaseException):
    """An interruption that no handler of the engine may swallow."""


class StopAfter:
    """Raises Stop when this many epochs were told."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    @ltbench.hookimpl
    def ltbench_epoch_finished(self, cell: Any, epoch: int, log: dict[str, Any]) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stop


@pytest.fixture
def interrupted(cell: Callable[..., Any]) -> Callable[..., Any]:
    """interrupted(epochs, method, ...): stop after so many checkpointed epochs; True if stopped."""

    def run(epochs: int, *args: Any, **kwargs: Any) -> bool:
        manager, stopper = plugins().manager, StopAfter(epochs)
        manager.register(stopper)
        try:
            cell(*args, **kwargs)
            return False
        except Stop:
            return True
        finally:
            manager.unregister(stopper)

    return run
