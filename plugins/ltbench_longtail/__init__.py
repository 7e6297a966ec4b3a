"""Long-tail systems: methods that need more than a loss or a sampler."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the systems, each as a classifier and as the method of the same id."""
