"""The record of a finished cell and what is made of many: store, tables, comparison, verification, packing."""

from ltbench.results.record import SCHEMA, Predictions, Result, read_result, write_result
from ltbench.results.store import iter_results, load_results, status

__all__ = [
    "SCHEMA",
    "Predictions",
    "Result",
    "iter_results",
    "load_results",
    "read_result",
    "status",
    "write_result",
]
