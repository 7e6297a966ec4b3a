"""A cell: one (method, dataset, protocol, seed), resolved to plain values and identified by a hash of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """JSON text with sorted keys, the same for equal plain values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """sha256 of the canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def cell_hash(cell: Mapping[str, Any]) -> str:
    """The identity of a stored cell: its resolved recipe, component versions and data content."""
    return digest({"recipe": cell["recipe"], "versions": cell["versions"], "data": cell["data"]})


@dataclass(frozen=True)
class Cell:
    """Frozen and hashable; `text` is the canonical JSON of everything about it."""

    method: str
    dataset: str
    protocol: str
    seed: int
    text: str

    @classmethod
    def create(cls, *, method: str, dataset: str, protocol: str, seed: int, **rest: Any) -> Cell:
        """Freeze; `rest` holds recipe, versions, data and what is recorded but not hashed."""
        names: dict[str, Any] = {"method": method, "dataset": dataset, "protocol": protocol, "seed": seed}
        return cls(**names, text=canonical({**names, **rest, "hash": cell_hash(rest)}))

    def as_dict(self) -> dict[str, Any]:
        """A fresh copy of everything, as it is stored."""
        return json.loads(self.text)

    @property
    def recipe(self) -> dict[str, Any]:
        """A fresh copy of the resolved recipe."""
        return self.as_dict()["recipe"]

    @property
    def hash(self) -> str:
        """Hexadecimal sha256."""
        return self.as_dict()["hash"]

    def folder(self, out: Path) -> Path:
        """OUT/DATASET/METHOD/PROTOCOL/seedN-HASH8."""
        safe = [part.replace("/", "_") for part in (self.dataset, self.method, self.protocol)]
        return Path(out, *safe, f"seed{self.seed}-{self.hash[:8]}")

    def __str__(self) -> str:
        return f"{self.method} on {self.dataset}, {self.protocol}, seed {self.seed}"
