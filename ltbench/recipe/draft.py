"""A resolved recipe before its data are known."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ltbench.cell import Cell

if TYPE_CHECKING:
    from ltbench.tuned import Tuned


@dataclass
class Draft:
    """A recipe whose names and options are resolved, waiting for the facts of the data."""

    method: str
    dataset: str
    protocol: str
    recipe: dict[str, Any]
    origins: dict[str, str]
    fidelity: dict[str, str]
    owns: dict[str, str]
    versions: dict[str, int | str]
    standard: bool
    weights_path: str | None = None
    notes: list[str] = field(default_factory=list)
    search: Mapping[str, Any] = field(default_factory=dict)
    tuned: Tuned | None = None

    @property
    def seed(self) -> int:
        """Seed of everything but the split and the fits."""
        return self.recipe["seed"]

    def freeze(self, *, n_train: int, content: str) -> Cell:
        """Settle what depends on the data (epochs) and freeze; `content` is the hash of the data in use.

        UserError where the recipe was tuned on other data or with other versions.
        """
        tuning: dict[str, Any] = {}
        if self.tuned is not None:
            tuning = self.tuned.checked(lambda draft: draft.freeze(n_train=n_train, content=content))
        recipe = copy.deepcopy(self.recipe)
        rule = recipe["protocol"]["epochs"]
        if isinstance(rule, Mapping):
            recipe["protocol"]["epochs"] = int(min(max(round(rule["images"] / n_train), rule["min"]), rule["max"]))
        return Cell.create(
            method=self.method,
            dataset=self.dataset,
            protocol=self.protocol,
            seed=self.seed,
            recipe=recipe,
            versions=self.versions,
            data=content,
            fidelity=self.fidelity,
            owns=self.owns,
            assumed=self.fidelity.get("method") == "assumed",
            standard=self.standard,
            **tuning,
        )
