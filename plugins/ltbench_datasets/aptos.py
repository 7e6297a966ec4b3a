"""APTOS 2019 Blindness Detection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ltbench.data.folders import FolderDataset
from ltbench.errors import DataError, FetchNotAllowed

COMPETITION = "aptos2019-blindness-detection"


class Aptos(FolderDataset):
    """The labelled training images; images with identical pixels form a group (30 with contradicting grades)."""

    name = "aptos"
    folders = ("aptos2019", "aptos", COMPETITION)
    classes = ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")
    group_columns = ("duplicate_group",)
    licence = "Kaggle competition rules (no redistribution)"
    homepage = f"https://www.kaggle.com/competitions/{COMPETITION}"
    how_to_get = (
        f"APTOS needs a Kaggle login: accept the rules at {homepage}/rules, then\n"
        "pip install 'ltbench[kaggle]', put your API token into ~/.kaggle/kaggle.json, ltbench data fetch aptos;\n"
        "or download the ZIP by hand and run: ltbench data import aptos PATH"
    )
    official_counts: Mapping[str, tuple[int, ...]] = {"all": (1805, 370, 999, 193, 295)}

    def fetch(self, root: Path) -> None:
        try:
            import kagglehub
        except ImportError as error:
            raise FetchNotAllowed(self.how_to_get) from error
        from ltbench.data.manage import import_data

        try:
            source = Path(kagglehub.competition_download(COMPETITION))
        except Exception as error:  # login missing, rules not accepted, no network: Kaggle has many exceptions
            raise DataError(f"Kaggle refused the download: {str(error)[:200]}\n{self.how_to_get}") from error
        import_data(source, self, root)
