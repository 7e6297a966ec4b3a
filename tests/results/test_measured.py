"""The committed leaderboards: every cell proves itself, and no two methods are the same one under two names."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from ltbench_losses.eql import tail_classes

from ltbench.results.verify import verify

ROOT = Path(__file__).parents[2] / "leaderboards" / "measured"
CELLS = sorted(path.parent for path in ROOT.glob("*/*/*/*/result.json"))
EQUAL_IN_THEORY = {frozenset({"balanced-softmax", "logit-adjustment"})}  # tau = 1: a constant shift of all logits

SWITCH = 0.8  # share of the epochs after which a deferred method leaves its base
EQUAL_BEFORE_THE_SWITCH = {frozenset(pair) for pair in (("ldam", "ldam-drw"), ("ce", "drw"), ("ce", "drs"))}


def test_there_are_cells() -> None:
    assert len(CELLS) >= 39


@pytest.mark.parametrize("dataset", sorted({cell.parts[-4] for cell in CELLS}))
def test_every_cell_of_a_data_set_verifies(dataset: str) -> None:
    for cell in (c for c in CELLS if c.parts[-4] == dataset):
        assert verify(cell) == []


def test_no_two_methods_give_the_same_predictions() -> None:
    same: dict[tuple[str, ...], dict[str, bool]] = defaultdict(dict)
    no_tail = set()  # data sets without a tail class, where the equalization loss is cross-entropy
    for cell in CELLS:
        record = json.loads((cell / "result.json").read_text())
        facts, epochs = record["cell"], record["cell"]["recipe"]["protocol"]["epochs"]
        with np.load(cell / "predictions.npz") as stored:
            digest = hashlib.sha256(stored["probs"].tobytes()).hexdigest()
        if facts["method"] == "eql" and not tail_classes(record["data"]["train_counts"]).any():
            no_tail.add(facts["dataset"])
        early = record["selection"]["epoch"] < math.floor(SWITCH * epochs)
        same[facts["dataset"], facts["protocol"], str(facts["seed"]), digest][facts["method"]] = early
    for (dataset, *_), methods in same.items():
        for pair in map(frozenset, itertools.combinations(methods, 2)):
            alike = pair in EQUAL_BEFORE_THE_SWITCH and all(methods[method] for method in pair)
            equalized = pair == {"ce", "eql"} and dataset in no_tail
            assert pair in EQUAL_IN_THEORY or alike or equalized, set(pair)
