"""The stock classifier and the plain cross-entropy method."""

import ltbench

DIFFMIC = "Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, table 1a"


@ltbench.hookimpl
def ltbench_register(registry):  # type: ignore[no-untyped-def]
    registry.add(
        "classifier",
        "standard",
        "ltbench.models.standard:StandardClassifier",
        summary="one backbone, one head, one loss, SGD or AdamW",
    )
    for id, name, backbone in [
        ("ce-resnet", "CE_RESNET", "ResNet-50"),
        ("ce-vit", "CE_VIT", "ViT-B/16"),
        ("ce-swin", "CE_SWIN", "Swin-T"),
        ("ce-pvt", "CE_PVT", "PVT v2-B2"),
    ]:
        summary = f"Cross-entropy on {backbone}, whatever the protocol's backbone"
        registry.add("method", id, f"ltbench_classifiers.methods:{name}", summary=summary, cite=DIFFMIC)
