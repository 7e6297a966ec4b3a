"""HAM10000, the training part of ISIC 2018 task 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ltbench.data.folders import FolderDataset

ARCHIVE = "https://isic-archive.s3.amazonaws.com/challenges/2018/"


class Ham10000(FolderDataset):
    """Images of one lesion, and images with identical pixels, form a group; age, sex and localization are columns."""

    name = "ham10000"
    folders = ("ham10000", "HAM10000")
    classes = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
    group_columns = ("lesion_id", "duplicate_group")
    licence = "CC BY-NC 4.0"
    homepage = "https://doi.org/10.7910/DVN/DBW86T"
    how_to_get = "ltbench data fetch ham10000 downloads 2.7 GB from the ISIC 2018 archive"
    official_counts: Mapping[str, tuple[int, ...]] = {"all": (1113, 6705, 514, 327, 1099, 115, 142)}
    sources: ClassVar[Mapping[str, str]] = {
        "ISIC2018_Task3_Training_Input.zip": ARCHIVE + "ISIC2018_Task3_Training_Input.zip",
        "ISIC2018_Task3_Training_GroundTruth.zip": ARCHIVE + "ISIC2018_Task3_Training_GroundTruth.zip",
        "ISIC2018_Task3_Training_LesionGroupings.csv": ARCHIVE + "ISIC2018_Task3_Training_LesionGroupings.csv",
    }
