"""The MedMNIST v2 family in two dimensions, from its .npz files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ltbench.data.decode import fit
from ltbench.data.tables import digest, locate
from ltbench.errors import DataError, FetchNotAllowed
from ltbench.interfaces.dataset import Dataset, ImageTable

PARTS = ("train", "val", "test")
SIZES = (28, 64, 128, 224)


class MedMNIST(Dataset):
    """NAME.npz or NAME_SIZE.npz below ROOT or ROOT/NAME, with the official split; size: 28, 64, 128 or 224."""

    name = ""
    scheme = "official"
    licence = "CC BY 4.0"
    homepage = "https://medmnist.com"
    part_sizes: ClassVar[tuple[int, int, int]]

    def __init_subclass__(cls) -> None:
        cls.how_to_get = f"pip install 'ltbench[medmnist]' and run: ltbench data fetch {cls.name}"

    def __init__(self, *, size: int = 28) -> None:
        if size not in SIZES:
            raise DataError(f"dataset.size must be one of {', '.join(map(str, SIZES))}, got {size}")
        self.native_size = size

    @property
    def file(self) -> str:
        """The name of the .npz file."""
        return f"{self.name}.npz" if self.native_size == 28 else f"{self.name}_{self.native_size}.npz"

    def places(self, root: Path) -> tuple[Path, ...]:
        """Where the file may lie."""
        return root / self.name / self.file, root / self.file

    def load(self, root: Path, size: int) -> ImageTable:
        path = locate(self, self.name, self.places(root))
        images, labels, split = self._read(path)
        content = digest(images, np.array([size]))
        if images.shape[1:3] != (size, size):
            images = np.stack([fit(image, size) for image in images])
        images.setflags(write=False)
        ids = np.array([f"{part}{i}" for part in PARTS for i in range(int((split == part).sum()))])
        aux = {"split": split, "label_name": np.array(self.classes)[labels]}
        return ImageTable(images, labels, ids, ids, aux, content)

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (N, h, w, c), labels (N,) and part names (N,)."""
        try:
            with np.load(path, allow_pickle=False) as data:
                images = [data[f"{part}_images"] for part in PARTS]
                labels = [data[f"{part}_labels"].reshape(len(i), -1) for part, i in zip(PARTS, images, strict=True)]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(
                f"{path} is not a complete MedMNIST file ({error}); delete it and run: ltbench data fetch {self.name}"
            ) from error
        label = np.concatenate(labels)
        if label.shape[1] != 1 or label.max() >= len(self.classes):
            raise DataError(
                f"{path} holds labels {label.shape} up to {label.max()}, not those of {self.name}; fetch it"
            )
        pixels = np.concatenate(images)
        pixels = pixels[..., None] if pixels.ndim == 3 else pixels
        if pixels.shape[3] != self.channels or pixels.dtype != np.uint8:
            raise DataError(
                f"{path} holds {pixels.dtype} images {pixels.shape[1:]}, not those of {self.name}; fetch it"
            )
        return pixels, label[:, 0].astype(np.int64), np.repeat(PARTS, [len(i) for i in images])

    def fetch(self, root: Path) -> None:
        try:
            from medmnist.info import INFO
        except ImportError as error:
            raise FetchNotAllowed(
                f"fetching {self.name} needs the medmnist package: pip install 'ltbench[medmnist]'\n"
                f"or download {self.file} from {self.homepage} into DATA_ROOT/{self.name}/"
            ) from error
        from ltbench.data.download import download

        suffix = "" if self.native_size == 28 else f"_{self.native_size}"
        facts = INFO[self.name]
        target = self.places(root)[0]
        download(facts[f"url{suffix}"], target, checksum=f"md5:{facts[f'MD5{suffix}']}")


class BreastMNIST(MedMNIST):
    name = "breastmnist"
    channels = 1
    classes = ("malignant", "normal_benign")
    part_sizes = (546, 78, 156)
    official_counts: Mapping[str, tuple[int, ...]] = {
        "all": (210, 570),
        "train": (147, 399),
        "val": (21, 57),
        "test": (42, 114),
    }


class DermaMNIST(MedMNIST):
    name = "dermamnist"
    licence = "CC BY-NC 4.0"
    classes = (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    )
    part_sizes = (7007, 1003, 2005)


class RetinaMNIST(MedMNIST):
    name = "retinamnist"
    classes = ("0", "1", "2", "3", "4")
    part_sizes = (1080, 120, 400)


class PathMNIST(MedMNIST):
    name = "pathmnist"
    classes = (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    )
    part_sizes = (89996, 10004, 7180)


class BloodMNIST(MedMNIST):
    name = "bloodmnist"
    classes = (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    )
    part_sizes = (11959, 1712, 3421)


class PneumoniaMNIST(MedMNIST):
    name = "pneumoniamnist"
    channels = 1
    classes = ("normal", "pneumonia")
    part_sizes = (4708, 524, 624)


class OCTMNIST(MedMNIST):
    name = "octmnist"
    channels = 1
    classes = ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")
    part_sizes = (97477, 10832, 1000)


class TissueMNIST(MedMNIST):
    name = "tissuemnist"
    channels = 1
    classes = (
        "Collecting Duct, Connecting Tubule",
        "Distal Convoluted Tubule",
        "Glomerular endothelial cells",
        "Interstitial endothelial cells",
        "Leukocytes",
        "Podocytes",
        "Proximal Tubule Segments",
        "Thick Ascending Limb",
    )
    part_sizes = (165466, 23640, 47280)


class OrganMNIST(MedMNIST):
    """Abdominal CT; left and right organs are classes, so images are not mirrored."""

    channels = 1
    augment: Mapping[str, Any] = {"flip": False, "vertical_flip": False}
    classes = (
        "bladder",
        "femur-left",
        "femur-right",
        "heart",
        "kidney-left",
        "kidney-right",
        "liver",
        "lung-left",
        "lung-right",
        "pancreas",
        "spleen",
    )


class OrganAMNIST(OrganMNIST):
    name = "organamnist"
    part_sizes = (34561, 6491, 17778)


class OrganCMNIST(OrganMNIST):
    name = "organcmnist"
    part_sizes = (12975, 2392, 8216)


class OrganSMNIST(OrganMNIST):
    name = "organsmnist"
    part_sizes = (13932, 2452, 8827)
