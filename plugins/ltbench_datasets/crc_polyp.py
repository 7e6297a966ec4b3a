"""H&E patches of colorectal polyps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.data.folders import FolderDataset


class CrcPolypHE(FolderDataset):
    """A balanced subset; patients are unknown, so parts may share a slide: not for claims about accuracy."""

    name = "crc-polyp-he"
    folders = ("crc_polyp_he", "crc-polyp-he")
    classes = ("healthy", "adenocarcinoma", "serrated", "tubular", "villous")
    native_size = 112
    scheme = "column:source_split"
    augment: Mapping[str, Any] = {"vertical_flip": True}
    licence = "GPL-3.0 repository; licence of the images not stated"
    homepage = "https://github.com/Flagy/Colorectal_Carcinoma_Classifier"
    how_to_get = (
        "crc-polyp-he has no download: put labels.csv and images.zip into DATA_ROOT/crc_polyp_he, or run\n"
        "`ltbench data import crc-polyp-he PATH` on class folders from the homepage"
    )
    official_counts: Mapping[str, tuple[int, ...]] = {"all": (900, 900, 900, 900, 900)}
