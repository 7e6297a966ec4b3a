"""The conformance suite of components, and tiny data for the tests of plugin authors."""

from ltbench.testing.suite import check_component
from ltbench.testing.tiny import TinyDataset, tiny_context, tiny_options, tiny_run, tiny_table

__all__ = ["TinyDataset", "check_component", "tiny_context", "tiny_options", "tiny_run", "tiny_table"]
