"""check_component: the conformance suite, one function per kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ltbench.errors import ContractError, LtbenchError
from ltbench.plugins import plugins
from ltbench.registry import CODE_KINDS, Component
from ltbench.testing.classifiers import check_classifier
from ltbench.testing.datasets import check_dataset
from ltbench.testing.generators import check_generator
from ltbench.testing.losses import check_loss
from ltbench.testing.metrics import check_metric
from ltbench.testing.recipes import check_method, check_protocol
from ltbench.testing.samplers import check_sampler
from ltbench.testing.searching import check_search

Check = Callable[[Component, Path], Iterator[str]]
CHECKS: dict[str, Check] = {
    "dataset": check_dataset,
    "loss": check_loss,
    "sampler": check_sampler,
    "generator": check_generator,
    "classifier": check_classifier,
    "metric": check_metric,
    "protocol": check_protocol,
    "method": check_method,
}


def check_component(kind: str, id: str) -> Iterator[str]:
    """One line per passed check; the first failed one raises an LtbenchError that says what broke the contract."""
    component = plugins().registry.get(kind, id)
    with tempfile.TemporaryDirectory(prefix="ltbench-check-") as folder:
        checks = _checks(component, Path(folder))
        while True:
            try:
                line = next(checks)
            except StopIteration:
                return
            except LtbenchError:
                raise
            except Exception as error:
                raise ContractError(f"{kind} {component.id!r} raised {type(error).__name__}: {error}") from error
            yield line


def _checks(component: Component, folder: Path) -> Iterator[str]:
    yield from CHECKS[component.kind](component, folder)
    if component.kind in CODE_KINDS:
        yield from check_search(component)
