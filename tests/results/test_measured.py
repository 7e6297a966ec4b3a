"""The committed leaderboards: every cell proves itself, and no two methods are the same one under two names."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from ltbench.results.verify import verify

ROOT = Path(__file__).parents[2] / "leaderboards" / "measured"
CELLS = sorted(path.parent for path in ROOT.glob("*/*/*/*/result.json"))
EQUAL_IN_THEORY = {frozenset({"balanced-softmax", "logit-adjustment"})}  # tau = 1: a constant shift of all logits


def test_there_are_cells() -> None:
    assert len(CELLS) >= 39


@pytest.mark.parametrize("dataset", sorted({cell.parts[-4] for cell in CELLS}))
def test_every_cell_of_a_data_set_verifies(dataset: str) -> None:
    for cell in (c for c in CELLS if c.parts[-4] == dataset):
        assert verify(cell) == []


def test_no_two_methods_give_the_same_predictions() -> None:
    same: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for cell in CELLS:
        facts = json.loads((cell / "result.json").read_text())["cell"]
        with np.load(cell / "predictions.npz") as stored:
            digest = hashlib.sha256(stored["probs"].tobytes()).hexdigest()
        same[facts["dataset"], facts["protocol"], str(facts["seed"]), digest].add(facts["method"])
    twins = {frozenset(pair) for methods in same.values() for pair in itertools.combinations(sorted(methods), 2)}
    assert twins <= EQUAL_IN_THEORY
