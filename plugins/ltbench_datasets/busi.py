"""BUSI, the breast ultrasound images dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ltbench.data.folders import FolderDataset


class Busi(FolderDataset):
    """Images without their masks; one pair with identical pixels carries contradicting labels."""

    name = "busi"
    folders = ("busi", "Dataset_BUSI_with_GT", "Dataset_BUSI")
    classes = ("normal", "benign", "malignant")
    channels = 1
    group_columns = ("duplicate_group",)
    licence = "CC BY 4.0"
    homepage = "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset"
    how_to_get = "ltbench data fetch busi downloads 200 MB from Cairo University"
    official_counts: Mapping[str, tuple[int, ...]] = {"all": (133, 437, 210)}
    sources: ClassVar[Mapping[str, str]] = {"Dataset_BUSI.zip": "https://scholar.cu.edu.eg/Dataset_BUSI.zip"}
