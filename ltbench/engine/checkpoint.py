"""Checkpoints: nested states of tensors, arrays and plain values, written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltbench.errors import CheckpointError
from ltbench.results.files import atomic_write

FORMAT = "ltbench-checkpoint-1"


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "US":
            return {"__strings__": value.tolist()}
        return {"__array__": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_encode(item) for item in value)
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return value["__array__"].cpu().numpy()
        if set(value) == {"__strings__"}:
            return np.array(value["__strings__"])
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(item) for item in value)
    return value


def copy_state(state: Any) -> Any:
    """A deep copy that shares no tensor with the original."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, np.ndarray):
        return state.copy()
    if isinstance(state, dict):
        return {key: copy_state(item) for key, item in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(copy_state(item) for item in state)
    return state


def state_digest(state: Any) -> str:
    """sha256 of every tensor and value of a nested state, in key order."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(state)
    return digest.hexdigest()


def save(path: Path, owner: str, state: Any) -> None:
    """Write atomically; `owner` (a hash) is checked on load."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "owner": owner, "state": _encode(state)}, buffer)
    atomic_write(path, buffer.getvalue())


def load(path: Path, owner: str, device: torch.device | str = "cpu") -> Any:
    """The state; CheckpointError where the file is corrupt or belongs to another owner."""
    fix = "remove the file to start anew"
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict):
            raise ValueError("not a dictionary")
    except Exception as error:
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {path} cannot be read ({reason}); {fix}") from error
    if content.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {content.get('format')!r}, expected {FORMAT!r}; {fix}")
    if content["owner"] != owner:
        raise CheckpointError(f"checkpoint {path} belongs to {content['owner'][:8]}, expected {owner[:8]}; {fix}")
    return _decode(content["state"])
