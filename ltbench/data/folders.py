"""A data set of image files: what its plugin has to state, and everything that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from ltbench.data.layouts import Listing, read_layout
from ltbench.data.tables import load_listing, locate, warn_counts
from ltbench.interfaces.dataset import Dataset, ImageTable


class FolderDataset(Dataset):
    """Reads ROOT/FOLDER in the packed or the publisher's layout.

    name: the id. folders: names of the folder, the first is written by fetch and import. aliases: the publisher's class
    name -> ours. group_columns: columns of labels.csv whose equal entries keep images on one side of a split.
    """

    name: str = ""
    folders: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    group_columns: tuple[str, ...] = ()
    sources: ClassVar[Mapping[str, str]] = {}  # file name -> URL, for fetch

    def places(self, root: Path) -> tuple[Path, ...]:
        """Where the data may lie."""
        return tuple(root / folder for folder in self.folders)

    def listing(self, root: Path) -> Listing:
        """The files with their classes and columns, images not read."""
        return read_layout(locate(self, self.name, self.places(root)))

    def load(self, root: Path, size: int) -> ImageTable:
        table = load_listing(self.listing(root), self, size)
        warn_counts(self, self.name, table.labels)
        return table

    def unlabeled(self, root: Path, size: int) -> ImageTable | None:
        table = load_listing(self.listing(root), self, size)
        rows = np.flatnonzero(table.labels < 0)
        return table.take(rows) if len(rows) else None

    def fetch(self, root: Path) -> None:
        if not self.sources:
            super().fetch(root)
        from ltbench.data.download import download_all
        from ltbench.data.manage import import_data

        folder = download_all(self.sources, root / ".downloads" / self.name)
        import_data(folder, self, root)
