"""ltbench: the benchmark suite for imbalanced image classification."""

__version__ = "0.1.0"
