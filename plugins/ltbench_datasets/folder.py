"""A user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltbench.data.folders import FolderDataset
from ltbench.data.layouts import Listing, read_layout


class Folder(FolderDataset):
    """Class folders, PART/CLASS folders, or labels.csv in the folder or ZIP file `path`; classes as found there.

    channels: 3 or 1. group_columns: comma-separated columns of labels.csv that tie images together. shot_groups: many,
    medium and few as in `ltbench.metrics.class_groups`, for example {"scheme": "rank", "sizes": [2, 4, 2]}, or lists
    of class names.
    """

    name = "folder"
    later_options = frozenset({"shot_groups"})
    licence = "your own"
    how_to_get = "give your folder: --dataset folder:PATH"

    def __init__(
        self,
        *,
        path: str,
        channels: int = 3,
        group_columns: str = "group,duplicate_group,patient_id",
        shot_groups: Any = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.channels = channels
        self.group_columns = tuple(column.strip() for column in group_columns.split(",") if column.strip())
        listing = read_layout(self.path)
        self.classes = class_order(listing)
        self.shot_groups = _indices(shot_groups, self.classes)
        if "split" in listing.columns:
            self.scheme = "official"

    def places(self, root: Path) -> tuple[Path, ...]:
        return (self.path,)


def _indices(shot_groups: Any, classes: tuple[str, ...]) -> Any:
    """Lists of class names as indices; all else as it is, None where it is empty."""
    if not isinstance(shot_groups, dict):
        return shot_groups or None
    index = {name: k for k, name in enumerate(classes)}
    return {
        group: [index.get(v, v) if isinstance(v, str) else v for v in given] if isinstance(given, list) else given
        for group, given in shot_groups.items()
    } or None


def class_order(listing: Listing) -> tuple[str, ...]:
    """Class names by their number where labels are numbers, else sorted."""
    found = sorted({text for text in listing.classes if text not in ("", "-1")})
    if not all(text.isdigit() for text in found):
        return tuple(found)
    names = dict(zip(listing.classes, listing.columns.get("label_name", listing.classes), strict=True))
    size = max((int(text) for text in found), default=-1) + 1
    return tuple(names.get(str(k)) or str(k) for k in range(size))
