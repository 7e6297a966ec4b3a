"""The committed leaderboards: every cell proves itself, and no two methods are the same one under two names."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ltbench_losses.eql import tail_classes

from ltbench.results.verify import verify

ROOT = Path(__file__).parents[2] / "leaderboards" / "measured"
CELLS = sorted(path.parent for path in ROOT.glob("*/*/*/*/result.json"))
SWITCH = 0.8  # share of the epochs after which a deferred method leaves its base
BASE = {"ldam-drw": "ldam", "drw": "ce", "drs": "ce"}


def test_there_are_cells() -> None:
    assert len(CELLS) >= 39


@pytest.mark.parametrize("dataset", sorted({cell.parts[-4] for cell in CELLS}))
def test_every_cell_of_a_data_set_verifies(dataset: str) -> None:
    for cell in (c for c in CELLS if c.parts[-4] == dataset):
        assert verify(cell) == []


def essence(record: dict[str, Any]) -> str:
    """The method that this cell amounts to by theory.

    A deferred method selected before its switch is its base; logit adjustment with tau = 1 shifts the logits of
    balanced softmax by a constant; without a tail class the equalization loss is cross-entropy.
    """
    method: str = record["cell"]["method"]
    early = record["selection"]["epoch"] < math.floor(SWITCH * record["cell"]["recipe"]["protocol"]["epochs"])
    if method in BASE and early:
        return BASE[method]
    if method == "eql" and not tail_classes(record["data"]["train_counts"]).any():
        return "ce"
    return {"logit-adjustment": "balanced-softmax"}.get(method, method)


def test_no_two_methods_give_the_same_predictions() -> None:
    same: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for cell in CELLS:
        record = json.loads((cell / "result.json").read_text())
        facts = record["cell"]
        with np.load(cell / "predictions.npz") as stored:
            digest = hashlib.sha256(stored["probs"].tobytes()).hexdigest()
        same[facts["dataset"], facts["protocol"], str(facts["seed"]), digest][facts["method"]] = essence(record)
    for methods in same.values():
        assert len(set(methods.values())) == 1, methods
