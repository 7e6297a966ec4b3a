"""Cross-entropy on the backbones that the DiffMIC paper compares (table 1a): the backbone is the row."""

from typing import Any


def _on(backbone: str, note: str, fidelity: str) -> dict[str, Any]:
    return {
        "classifier": "standard",
        "loss": "ce",
        "sampler": "instance",
        "protocol": {"backbone": backbone},
        "owns": {"backbone": note},
        "fidelity": {"protocol.backbone": fidelity},
    }


CE_RESNET = _on("resnet50", "the row is its backbone, ResNet-50", "assumed")
CE_VIT = _on("vit_base_patch16_224", "the row is its backbone, ViT-B/16", "assumed")
CE_SWIN = _on("swin_tiny_patch4_window7_224", "the row is its backbone, Swin-T; the paper states no size", "assumed")
CE_PVT = _on("pvt_v2_b2", "the row is its backbone, PVT v2-B2 where the paper cites v1", "assumed")
