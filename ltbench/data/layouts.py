"""The file layouts that publishers and ltbench use, each turned into one listing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ltbench.data.trees import FolderTree, Tree, ZipTree, open_tree
from ltbench.errors import DataError

PART_NAMES = frozenset({"train", "val", "valid", "validation", "test", "training", "testing"})
ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


@dataclass(frozen=True)
class Listing:
    """Files of a tree, with id, class (a name or a number as text, "" = unlabelled) and further columns of each."""

    tree: Tree
    files: tuple[str, ...]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    layout: str
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_layout(path: Path) -> Listing:
    """The first layout that fits the folder or ZIP file `path`; DataError names the ones that were tried."""
    tree = open_tree(path)
    for reader in LAYOUTS:
        listing = reader(tree)
        if listing is not None:
            return listing
    raise DataError(
        f"{path} holds no layout that ltbench reads; it looked for labels.csv with images.zip or images/, "
        "train.csv with train_images/, ISIC ground truth or metadata CSV, and class folders"
    )


def packed(tree: Tree) -> Listing | None:
    """labels.csv (file, label or label_name, further columns) beside images.zip, images/ or the files themselves."""
    if "labels.csv" not in tree.names:
        return None
    lines = _csv(tree, "labels.csv")
    if not lines or "file" not in lines[0] or not {"label", "label_name"} & set(lines[0]):
        have = ", ".join(lines[0]) if lines else "nothing"
        raise DataError(f"{tree.path / 'labels.csv'} needs the columns file and label or label_name, found {have}")
    prefix = ""
    images = tree
    if isinstance(tree, FolderTree) and (tree.path / "images.zip").is_file():
        images = ZipTree(tree.path / "images.zip")
    elif any(name.startswith("images/") for name in tree.names):
        prefix = "images/"
    key = "label" if "label" in lines[0] else "label_name"
    files = [line["file"] if line["file"] in images.names_set else prefix + line["file"] for line in lines]
    ids = [line.get("id") or PurePosixPath(line["file"]).stem for line in lines]
    extra = [name for name in lines[0] if name not in ("file", "id", "label")]
    return _listing(
        images, files, ids, [line[key] for line in lines], "packed", {n: [x[n] for x in lines] for n in extra}
    )


def kaggle(tree: Tree) -> Listing | None:
    """Kaggle: train.csv (id_code, diagnosis) and train_images/ID.png."""
    if not (name := _find(tree, "train.csv")):
        return None
    lines = _csv(tree, name)
    if not lines or not {"id_code", "diagnosis"} <= set(lines[0]):
        return None
    base = name.removesuffix("train.csv")
    by_stem = {PurePosixPath(n).stem: n for n in tree.images() if n.startswith(base + "train_images")}
    ids = [line["id_code"] for line in lines]
    files = [by_stem.get(i, f"{base}train_images/{i}.png") for i in ids]
    return _listing(tree, files, ids, [line["diagnosis"] for line in lines], "kaggle", {})


def isic(tree: Tree) -> Listing | None:
    """ISIC: images in any folder, with HAM10000_metadata.csv or a one-hot ...GroundTruth.csv."""
    metadata = _find(tree, "HAM10000_metadata.csv") or _find(tree, "HAM10000_metadata")
    truth = next((n for n in tree.names if n.endswith("GroundTruth.csv") and "Training" in n), None)
    truth = truth or next((n for n in tree.names if n.endswith("GroundTruth.csv")), None)
    if not metadata and not truth:
        return None
    known = {line["image_id"]: line for line in _csv(tree, metadata)} if metadata else {}
    if truth:
        hot = {line["image"]: line for line in _csv(tree, truth)}
        classes = {i: next(k for k in ISIC_CLASSES if float(line[k]) == 1).lower() for i, line in hot.items()}
    else:
        classes = {i: line["dx"] for i, line in known.items()}
    lesions = next((n for n in tree.names if n.endswith("LesionGroupings.csv")), None)
    if lesions:
        for line in _csv(tree, lesions):
            known.setdefault(line["image"], {"lesion_id": line["lesion_id"], "dx_type": line["diagnosis_confirm_type"]})
    by_stem = {PurePosixPath(n).stem: n for n in tree.images()}
    ids = sorted(classes)
    names = ("lesion_id", "dx_type", "age", "sex", "localization") if known else ()
    columns = {name: [known.get(i, {}).get(name, "") for i in ids] for name in names}
    return _listing(tree, [by_stem.get(i, f"{i}.jpg") for i in ids], ids, [classes[i] for i in ids], "isic", columns)


def class_folders(tree: Tree) -> Listing | None:
    """CLASS/FILE, or PART/CLASS/FILE with PART one of train, val, test; masks (BUSI) are left out."""
    files = [n for n in tree.images() if "/" in n and not _is_mask(n)]
    if not files:
        return None
    paths = [PurePosixPath(n) for n in files]
    columns = {}
    parts = [next((x.lower() for x in p.parts[:-2] if x.lower() in PART_NAMES), "") for p in paths]
    if all(parts):
        columns["split"] = parts
    shared = [p.parent.name for p in paths]
    ids = [str(p.with_suffix("")) for p in paths]
    return _listing(tree, files, ids, shared, "class folders", columns)


LAYOUTS: tuple[Callable[[Tree], Listing | None], ...] = (packed, kaggle, isic, class_folders)


def _listing(
    tree: Tree,
    files: Sequence[str],
    ids: Sequence[str],
    classes: Sequence[str],
    layout: str,
    columns: dict[str, list[str]],
) -> Listing:
    missing = [name for name in files if name not in tree.names_set]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} images are missing from {tree.path}, first {missing[0]!r}; "
            "the copy is incomplete: fetch or import it again"
        )
    frozen = {name: tuple(values) for name, values in columns.items()}
    return Listing(tree, tuple(files), tuple(ids), tuple(classes), layout, frozen)


def _csv(tree: Tree, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tree.text(name))))


def _find(tree: Tree, name: str) -> str | None:
    return next((n for n in tree.names if n == name or n.endswith("/" + name)), None)


def _is_mask(name: str) -> bool:
    return "_mask" in PurePosixPath(name).stem
