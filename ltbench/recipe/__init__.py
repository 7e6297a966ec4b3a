"""From a protocol, a method and --set to a cell whose every value is fixed and has an origin."""

from ltbench.cell import cell_hash
from ltbench.recipe.draft import Draft
from ltbench.recipe.merge import DATASET_AXES, resolve, resolve_with
from ltbench.recipe.protocol import NESTED
from ltbench.recipe.slots import SLOTS
from ltbench.recipe.values import content_hash, flatten, parse_set

__all__ = [
    "DATASET_AXES",
    "NESTED",
    "SLOTS",
    "Draft",
    "cell_hash",
    "content_hash",
    "flatten",
    "parse_set",
    "resolve",
    "resolve_with",
]
