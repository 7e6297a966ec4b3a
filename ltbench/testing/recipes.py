"""Conformance of protocols and methods: they resolve, and what they name can be built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ltbench
from ltbench.recipe import SLOTS, Draft, flatten, resolve
from ltbench.registry import Component
from ltbench.testing.searching import check_protocol_search
from ltbench.testing.tiny import PROTOCOL
from ltbench.testing.tools import check_version, require

DATASET = "digits-lt"
FIDELITY = frozenset({"paper", "code", "assumed", "control"})


def check_protocol(component: Component, folder: Path) -> Iterator[str]:
    """It resolves under every method, twice the same."""
    yield check_version(component)
    missing = set(PROTOCOL) - set(component.value)
    require(not missing, f"fields are missing: {sorted(missing)}")
    yield "has every field"
    yield from check_protocol_search(component.value)
    for method in ltbench.names("method"):
        _resolved(method, component.id)
    yield f"resolves under {len(ltbench.names('method'))} methods, the same twice"


def check_method(component: Component, folder: Path) -> Iterator[str]:
    """It resolves under every protocol, its components can be built and its fidelity names real options."""
    yield check_version(component)
    for protocol in ltbench.names("protocol"):
        draft = _resolved(component.id, protocol)
        for slot in SLOTS:
            if draft.recipe[slot]:
                ltbench.build(slot, draft.recipe[slot])
        keys = {"method"}
        for key in flatten(draft.recipe):
            parts = key.split(".")
            keys |= {".".join(parts[: n + 1]) for n in range(len(parts))}
        odd = {key: level for key, level in draft.fidelity.items() if level not in FIDELITY or key not in keys}
        require(not odd, f"fidelity must map options of the recipe to {', '.join(sorted(FIDELITY))}; not so: {odd}")
    yield f"resolves under {len(ltbench.names('protocol'))} protocols, the same twice; its components can be built"


def _resolved(method: str, protocol: str) -> Draft:
    (first, _), (second, _) = (resolve(method, DATASET, protocol) for _ in range(2))
    hashes = {draft.freeze(n_train=300, content="").hash for draft in (first, second)}
    require(len(hashes) == 1, f"method {method!r} under protocol {protocol!r} resolves to two different cells")
    return first
