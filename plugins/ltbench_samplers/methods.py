"""Methods that are cross-entropy under another sampler."""

from typing import Any

SQRT: dict[str, Any] = {
    "classifier": "standard",
    "loss": "ce",
    "sampler": "sqrt",
    "fidelity": {"sampler.name": "paper"},
}
CLASS_BALANCED: dict[str, Any] = {**SQRT, "sampler": "class-balanced"}
PROGRESSIVE: dict[str, Any] = {
    **SQRT,
    "sampler": {"name": "progressive", "end": "inclusive"},
    "fidelity": {"sampler.name": "paper", "sampler.end": "code"},
}
