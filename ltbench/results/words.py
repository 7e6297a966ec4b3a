"""How tables put numbers and conditions into words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ltbench.results.rows import word

LOWER_IS_BETTER = ("ece", "nll", "brier", "fd", "kd", "nearest_ratio", "n_absent", "seconds")
FEW_VALIDATION = 5  # images of a class
NOT_PERCENT = ("nll", "brier", "fd", "kd", "n", "n_absent", "n_pool", "diversity")


def base_name(metric: str) -> str:
    """The metric without its part and variant: "fd" of "generation.fd[ref]_floor"."""
    return metric.rsplit(".", 1)[-1].split("[")[0].removesuffix("_floor").removesuffix("_matched")


def printed(metric: str, mean: float, sd: float = math.nan) -> str:
    """ "71.20 ± 0.85", without the spread where there is one seed; percent where the metric is a fraction."""
    return number(metric, mean) + ("" if math.isnan(sd) else f" ± {number(metric, sd)}")


def number(metric: str, value: float, signed: bool = False) -> str:
    """A value of the metric: percent with two decimals where it is a fraction, "n/a" or "" for nan."""
    if math.isnan(value):
        return "" if signed else "n/a"
    plain = base_name(metric) in NOT_PERCENT
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}" if plain else f"{100 * value:{sign}.2f}"


def tuned(budget: str | None) -> str:
    """ ", tuned, 8 trials a method (seed 1000)", or an empty string for untuned options."""
    return f", tuned, {budget}" if budget else ""


def table_title(record: Mapping[str, Any], split_seeds: Iterable[int] = ()) -> str:
    """What the rows of a table have in common, from one of them; split_seeds: where they are of several splits."""
    seeds = sorted({*split_seeds}) or [record["split_seed"]]
    ratio = record["train_ratio"]
    imbalance = "" if math.isnan(ratio) else f", training imbalance {ratio:.1f}"
    imbalance += f" (set to {set_to})" if (set_to := word(record["imbalance"])) else ""
    split = f"split {record['split_scheme']} seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}{imbalance}"
    budget = tuned(record["tuning"]) or ", untuned defaults"
    return (
        f"{record['dataset']}, protocol {record['protocol']}, weights {record['weights'] or 'none'}, "
        f"{split}{budget}, percent"
    )


def marked(record: Mapping[str, Any], notes: list[str]) -> str:
    """The method of a record with its marks; what they mean joins the notes."""
    name = str(record["method"])
    if record["external"]:
        name += " (external)"
        note(notes, "(external): predictions of foreign code on the same test images; its training is its own word")
    if record["assumed"]:
        name += " (assumed)"
        note(notes, "(assumed): a defining formula of the method is not in its paper and was chosen by ltbench")
    if record["validation_is_test"]:
        name += " †"
        note(notes, "† the validation part is the test part, as released by the authors: an optimistic number")
    if record["smallest_val_class"] < FEW_VALIDATION:
        name += " ‡"
        note(notes, f"‡ a validation class has fewer than {FEW_VALIDATION} images: the selection is noisy")
    owns = json.loads(record["owns"] or "{}")
    if owns:
        name += " *"
        note(notes, f"* {record['method']} fixes " + "; ".join(f"{field} ({why})" for field, why in owns.items()))
    return name


def note(notes: list[str], text: str) -> None:
    """Add a note once."""
    if text not in notes:
        notes.append(text)
