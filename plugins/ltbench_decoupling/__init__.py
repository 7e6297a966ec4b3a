"""Decoupled training: representation first, classifier afterwards (Kang et al. 2020)."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the two-stage classifiers and the methods of the same ids."""
