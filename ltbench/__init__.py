"""ltbench: the benchmark suite for imbalanced image classification."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.errors import LtbenchError
from ltbench.plugins import hookimpl

if TYPE_CHECKING:
    import pandas as pd

    from ltbench.results.record import Result

__version__ = "0.1.0"
__all__ = ["LtbenchError", "build", "hookimpl", "interfaces", "load_results", "metrics", "names", "run", "testing"]


def names(kind: str) -> list[str]:
    """Sorted ids of a kind: dataset, loss, sampler, generator, classifier, metric, protocol or method."""
    from ltbench.plugins import plugins

    return plugins().registry.names(kind)


def build(kind: str, spec: str | Mapping[str, Any] | Any, **options: Any) -> Any:
    """Build a component from an id or a {name, ...options}; an instance is returned as it is."""
    from ltbench.plugins import plugins

    if isinstance(spec, Mapping):
        options = {**{k: v for k, v in spec.items() if k != "name"}, **options}
        spec = spec["name"]
    if not isinstance(spec, str):
        return spec
    return plugins().registry.get(kind, spec).build(**options)


def run(
    method: str,
    dataset: str,
    protocol: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    data_root: str | Path | None = None,
    device: str = "auto",
    force: bool = False,
    keep_model: bool = False,
) -> Result:
    """Run one cell, or return its stored result, and leave it below `out`."""
    from ltbench.launch.local import run_one

    return run_one(
        method=method,
        dataset=dataset,
        protocol=protocol,
        seed=seed,
        overrides=overrides or {},
        out=Path(out),
        data_root=data_root,
        device=device,
        force=force,
        keep_model=keep_model,
    )


def reopen(folder: str | Path, data_root: str | Path | None = None, device: str = "auto") -> tuple[Any, Any]:
    """The context and the selected classifier of a finished cell that kept its weights (keep_model)."""
    from ltbench.launch.reopen import reopen as load

    return load(Path(folder), data_root, device)


def load_results(out: str | Path = "runs") -> pd.DataFrame:
    """One row per finished cell below `out`."""
    from ltbench.results.store import load_results as load

    return load(Path(out))


def __getattr__(name: str) -> Any:
    if name in ("interfaces", "metrics", "testing"):
        return importlib.import_module(f"ltbench.{name}")
    raise AttributeError(f"module 'ltbench' has no attribute {name!r}")
