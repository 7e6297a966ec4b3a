"""A loss, a sampler, a generator and a classifier from outside ltbench's repository."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the four components."""
    for kind, name in [
        ("loss", "InverseRoot"),
        ("sampler", "Halves"),
        ("generator", "Mixes"),
        ("classifier", "NearestMean"),
    ]:
        registry.add(kind, f"stranger-{kind}", f"ltbench_stranger.{kind}:{name}", summary=f"a stranger's {kind}")
