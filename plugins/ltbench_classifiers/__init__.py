"""The stock classifier and the plain cross-entropy method."""

import ltbench


@ltbench.hookimpl
def ltbench_register(registry):  # type: ignore[no-untyped-def]
    registry.add(
        "classifier",
        "standard",
        "ltbench.models.standard:StandardClassifier",
        summary="one backbone, one head, one loss, SGD or AdamW",
    )
