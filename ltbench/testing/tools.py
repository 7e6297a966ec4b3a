"""What all checks share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ltbench.engine import checkpoint
from ltbench.errors import ContractError
from ltbench.registry import Component


def require(ok: bool, broken: str) -> None:
    """Raise ContractError(broken) unless ok."""
    if not ok:
        raise ContractError(broken)


def through_disk(state: Any, folder: Path) -> Any:
    """The state after a checkpoint was written and read; ContractError where it holds what cannot be stored."""
    path = folder / "roundtrip.pt"
    try:
        checkpoint.save(path, "roundtrip", state)
        return checkpoint.load(path, "roundtrip")
    except Exception as error:
        raise ContractError(
            f"state_dict must hold tensors, arrays, numbers, strings, lists and dicts only: {error}"
        ) from error


def check_version(component: Component) -> str:
    """The line about the component's import and version."""
    value = getattr(component.value, "version", 1)
    require(isinstance(value, int) and value >= 1, f"version must be a whole number >= 1, got {value!r}")
    require(bool(component.summary.strip()), "the summary is empty; `ltbench list` prints it")
    return f"imports, version {value}"


def generator(seed: int = 0) -> torch.Generator:
    """A torch generator."""
    return torch.Generator().manual_seed(seed)
