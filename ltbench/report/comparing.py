"""The data behind the compare page: per cell its scores, recalls and which test images it gets right."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltbench.report.boards import Board, Column, score
from ltbench.report.collect import Entry
from ltbench.results.pairing import DEFAULT
from ltbench.results.rows import word

SCORES = (
    Column("macro_f1", "Macro-F1"),
    Column("balanced_accuracy", "Balanced accuracy"),
    Column("mcc", "MCC"),
    Column("accuracy", "Accuracy"),
    Column("ece", "ECE"),
)


def compare_data(boards: Sequence[Board]) -> dict[str, Any]:
    """Plain data for `compare.js`; lists in place of mappings, so that a name cannot collide with a property."""
    return {
        "scores": [{"name": c.heading, "higher": c.higher} for c in SCORES],
        "boards": [_board(board) for board in boards],
    }


def _board(board: Board) -> dict[str, Any]:
    data = board.lines[0].entries[0].result.data["data"]
    return {
        "anchor": board.anchor,
        "title": board.title,
        "choice": _choice(board.lines[0].entries[0].row),
        "classes": [str(name) for name in data["class_names"]],
        "train": data["train_counts"],
        "test": data["test_counts"],
        "methods": [{"name": line.method, "cells": [_cell(e) for e in line.entries]} for line in board.lines],
    }


def _choice(row: Mapping[str, Any]) -> str:
    """The arguments by which `ltbench compare` takes the cells of this board."""
    words = ["--dataset", row["dataset"], "--protocol", row["protocol"]]
    for name in ("imbalance", "weights"):
        words += [f"--{name}", word(row[name]) or DEFAULT]
    return shlex.join([*words, *(["--tuned"] if row["tuning"] else [])])


def _cell(entry: Entry) -> dict[str, Any]:
    right = np.packbits(entry.evidence.right).tobytes()
    return {
        "seed": entry.row["seed"],
        "page": entry.page,
        "images": entry.evidence.images,
        "n": len(entry.evidence.right),
        "right": base64.b64encode(right).decode(),
        "scores": [_short(score(entry, c.key)) for c in SCORES],
        "recall": [_short(float(r)) for r in entry.result.metrics["per_class_recall"]],
    }


def _short(value: float) -> float:
    return round(value, 6)
