"""The data sets that come with ltbench."""

from __future__ import annotations

from typing import Any

import ltbench

MEDMNIST = {
    "breastmnist": ("BreastMNIST", "breast ultrasound, 2 classes, 780 images"),
    "dermamnist": ("DermaMNIST", "dermatoscopy (HAM10000), 7 classes, 10,015 images"),
    "retinamnist": ("RetinaMNIST", "retinal photographs, 5 grades, 1,600 images"),
    "pathmnist": ("PathMNIST", "colon histology, 9 classes, 107,180 images"),
    "bloodmnist": ("BloodMNIST", "blood cells, 8 classes, 17,092 images"),
    "pneumoniamnist": ("PneumoniaMNIST", "chest X-rays of children, 2 classes, 5,856 images"),
    "octmnist": ("OCTMNIST", "retinal OCT, 4 classes, 109,309 images"),
    "tissuemnist": ("TissueMNIST", "kidney cortex cells, 8 classes, 236,386 images"),
    "organamnist": ("OrganAMNIST", "abdominal CT, axial, 11 organs, 58,830 images"),
    "organcmnist": ("OrganCMNIST", "abdominal CT, coronal, 11 organs, 23,583 images"),
    "organsmnist": ("OrganSMNIST", "abdominal CT, sagittal, 11 organs, 25,211 images"),
}
MEDMNIST_CITE = "Yang et al., MedMNIST v2, Scientific Data 2023"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    registry.add(
        "dataset",
        "digits-lt",
        "ltbench_datasets.digits:DigitsLT",
        summary="scikit-learn's 8x8 handwritten digits cut to a long tail; no download",
        cite="Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998",
    )
    registry.add(
        "dataset",
        "aptos",
        "ltbench_datasets.aptos:Aptos",
        summary="retinal photographs, 5 grades of diabetic retinopathy, 3,662 images",
        cite="APTOS 2019 Blindness Detection, Kaggle 2019",
    )
    registry.add(
        "dataset",
        "ham10000",
        "ltbench_datasets.ham10000:Ham10000",
        summary="dermatoscopy, 7 diagnoses, 10,015 images of 7,470 lesions",
        cite="Tschandl et al., The HAM10000 dataset, Scientific Data 2018",
    )
    registry.add(
        "dataset",
        "busi",
        "ltbench_datasets.busi:Busi",
        summary="breast ultrasound, 3 classes, 780 images",
        cite="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020",
    )
    registry.add(
        "dataset",
        "crc-polyp-he",
        "ltbench_datasets.crc_polyp:CrcPolypHE",
        summary="H&E patches of colorectal polyps, 5 classes, 4,500 images",
    )
    registry.add(
        "dataset",
        "folder",
        "ltbench_datasets.folder:Folder",
        summary="your own images: class folders or labels.csv; --dataset folder:PATH",
    )
    for name, (target, summary) in MEDMNIST.items():
        registry.add("dataset", name, f"ltbench_datasets.medmnist:{target}", summary=summary, cite=MEDMNIST_CITE)
