"""How tables put numbers and conditions into words."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ltbench.errors import PluginError
from ltbench.results.rows import word

if TYPE_CHECKING:
    from ltbench.registry import Registry

HEADLINE = ("macro_f1", "balanced_accuracy", "mcc", "accuracy")
# What every record has: no plugin is loaded to sort by it.
OWN = dict.fromkeys(HEADLINE, True) | dict.fromkeys(
    ("seconds", "device_seconds", "peak_memory_bytes", "n_absent"), False
)
FEW_VALIDATION = 5  # images of a class
VARIANTS = ("_subset_sd", "_floor", "_matched", "_macro")
NOT_PERCENT = (
    *("nll", "brier", "fd", "kd", "fid", "kid", "density", "copy_ratio", "diversity", "diversity_real"),
    *("n", "n_absent", "n_pool", "n_neighbours", "classes_counted", "seconds", "device_seconds", "train_ratio"),
    *("diversity_ratio", "peak_memory_bytes", "images_per_second"),
)


def plain_name(metric: str) -> str:
    """The metric without its part and the features in brackets: "fd_floor" of "generation.fd_floor[net.v1]"."""
    return metric.partition("[")[0].rpartition(".")[2]


def base_name(metric: str) -> str:
    """The metric without part, features and variant: "fd" of "generation.fd_macro_floor[ref]"."""
    name = plain_name(metric)
    for variant in VARIANTS:
        name = name.removesuffix(variant)
    return name


def higher_is_better(metric: str) -> bool:
    """Whether a higher value is the better one, as its plugin declares it; True where none does."""
    if base_name(metric) in OWN:
        return OWN[base_name(metric)]
    from ltbench.plugins import plugins

    declared = _declared(plugins().registry)
    return next((declared[name] for name in (plain_name(metric), base_name(metric)) if name in declared), True)


@cache
def _declared(registry: Registry) -> dict[str, bool]:
    """Direction by plain name, of all metrics in the catalogue that can be imported."""
    found: dict[str, bool] = {}
    for component in (c for c in registry.all() if c.kind == "metric"):
        try:
            directions = getattr(component.value, "higher_is_better", {})
        except PluginError as error:
            warnings.warn(f"the directions of a metric are unknown: {error}", stacklevel=2)
            continue
        found |= {plain_name(name): bool(higher) for name, higher in directions.items()}
    return found


def is_fraction(metric: str) -> bool:
    """Whether tables print it in percent."""
    return base_name(metric) not in NOT_PERCENT


def printed(metric: str, mean: float, sd: float = math.nan) -> str:
    """ "71.20 ± 0.85", without the spread where there is one seed; percent where the metric is a fraction."""
    return number(metric, mean) + ("" if math.isnan(sd) else f" ± {number(metric, sd)}")


def number(metric: str, value: float, signed: bool = False) -> str:
    """A value of the metric: percent with two decimals where it is a fraction, "n/a" or "" for nan."""
    if math.isnan(value):
        return "" if signed else "n/a"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if is_fraction(metric) else f"{value:{sign}.4f}"


def options(budget: str | None) -> str:
    """ "tuned, 8 trials a method (seed 1000)", or "untuned defaults"."""
    return f"tuned, {budget}" if budget else "untuned defaults"


def as_the_paper(record: Mapping[str, Any]) -> bool:
    """Whether neither the imbalance nor the options are of our making, so that a paper's number may be subtracted."""
    return not (word(record["imbalance"]) or record["tuning"])


def table_title(record: Mapping[str, Any], split_seeds: Iterable[int] = ()) -> str:
    """What the rows of a table have in common, from one of them; split_seeds: where they are of several splits."""
    seeds = sorted({*split_seeds}) or [record["split_seed"]]
    ratio = record["train_ratio"]
    imbalance = "" if math.isnan(ratio) else f", training imbalance {ratio:.1f}"
    imbalance += f" (set to {set_to})" if (set_to := word(record["imbalance"])) else ""
    split = f"split {record['split_scheme']} seed{'s' * (len(seeds) > 1)} {', '.join(map(word, seeds))}{imbalance}"
    return (
        f"{record['dataset']}, protocol {record['protocol']}, weights {record['weights'] or 'none'}, "
        f"{split}, {options(record['tuning'])}, percent"
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
