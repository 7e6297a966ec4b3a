"""From a protocol, a method and --set to a cell whose every value is fixed and has an origin."""

from ltbench.cell import cell_hash
from ltbench.recipe.draft import Draft
from ltbench.recipe.merge import DATASET_AXES, resolve
from ltbench.recipe.slots import SLOTS
from ltbench.recipe.values import content_hash, flatten, parse_set

__all__ = ["DATASET_AXES", "SLOTS", "Draft", "cell_hash", "content_hash", "flatten", "parse_set", "resolve"]
