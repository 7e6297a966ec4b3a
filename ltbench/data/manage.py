"""What `ltbench data` does: status, fetch, import and check, each returning plain values."""

from __future__ import annotations

import csv
import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from ltbench.data.inspect import inspect_table
from ltbench.data.layouts import Listing, read_layout
from ltbench.data.tables import to_labels
from ltbench.errors import DataError
from ltbench.interfaces.dataset import Dataset


def name_of(dataset: Dataset) -> str:
    """The id by which a data set calls itself."""
    return str(getattr(dataset, "name", "") or type(dataset).__name__.lower())


def places(dataset: Dataset, root: Path) -> tuple[Path, ...]:
    """Where a data set looks for its files; empty if it needs none or does not say."""
    find = getattr(dataset, "places", None)
    return tuple(find(root)) if find else ()


def status(datasets: Mapping[str, Dataset], root: Path) -> list[dict[str, Any]]:
    """One line per data set: name, state ("ready", "built in" or "missing"), path, megabytes, licence, how_to_get."""
    lines = []
    for name, dataset in datasets.items():
        found = places(dataset, root)
        path = next((p for p in found if p.exists()), None)
        state = "built in" if not found else "ready" if path else "missing"
        size = _size(path) / 1e6 if path else 0.0
        lines.append(
            {
                "name": name,
                "state": state,
                "path": str(path or (found[0] if found else "")),
                "megabytes": round(size, 1),
                "classes": len(dataset.classes),
                "licence": dataset.licence,
                "how_to_get": dataset.how_to_get,
            }
        )
    return lines


def fetch(dataset: Dataset, root: Path) -> dict[str, Any]:
    """Download unless it is there; FetchNotAllowed with the steps where a person has to act.

    path: where the data are, "" for a data set that needs no files. fetched: whether they were downloaded now.
    """
    found = places(dataset, root)
    here = next((p for p in found if p.exists()), None)
    if here is None:
        dataset.fetch(root)
        here = next((p for p in found if p.exists()), None)
        return {"name": name_of(dataset), "path": str(here or (root if found else "")), "fetched": bool(found)}
    return {"name": name_of(dataset), "path": str(here), "fetched": False}


def import_data(source: Path, dataset: Dataset, root: Path) -> Path:
    """Turn a publisher's folder or ZIP into the packed layout below `root`; a MedMNIST .npz is copied."""
    found = places(dataset, root)
    if not found:
        raise DataError(f"data set {name_of(dataset)!r} needs no files; there is nothing to import")
    target = found[0]
    if not source.exists():
        raise DataError(f"there is no {source}; name the publisher's folder or archive of {name_of(dataset)}")
    if target.exists():
        raise DataError(f"{target} exists already; delete it first, then import {source} again")
    scratch = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".npz":
            if source.suffix != ".npz":
                raise DataError(f"{source} is not an .npz file; give {target.name} of {dataset.homepage}")
            shutil.copyfile(source, scratch)
        else:
            scratch.mkdir()
            _pack(read_layout(source), dataset, scratch)
        scratch.replace(target)
    except OSError as error:
        raise DataError(f"cannot import {source} to {target}: {error.strerror or error}") from error
    finally:
        if scratch.is_dir():
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            scratch.unlink(missing_ok=True)
    return target


def check(dataset: Dataset, root: Path) -> dict[str, Any]:
    """Counts against the official ones, undecodable files, exact duplicates, duplicates across the parts of the default
    split, contradictory labels; problems: all of these in words but duplicates within one part."""
    found = inspect_table(dataset, root)
    official = (dataset.official_counts or {}).get("all")
    counts_ok = official is None or list(official) == found["counts"]
    return {
        "name": name_of(dataset),
        "path": str(next((p for p in places(dataset, root) if p.exists()), "")),
        "classes": list(dataset.classes),
        "official": list(official) if official else None,
        "counts_ok": counts_ok,
        **found,
        "problems": _problems(counts_ok, found),
    }


def _problems(counts_ok: bool, found: Mapping[str, Any]) -> list[str]:
    wrong = {
        "files that are no images": len(found["undecodable"]),
        "groups of identical images in several parts of the split": len(found["duplicates_across_splits"]),
        "groups of identical images with different labels": len(found["contradictory"]),
    }
    return [
        *([] if counts_ok else ["images per class differ from the published"]),
        *(f"{what}: {number}" for what, number in wrong.items() if number),
    ]


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _pack(listing: Listing, dataset: Dataset, folder: Path) -> None:
    """labels.csv and an uncompressed images.zip; byte-identical files get a common duplicate_group."""
    labels = to_labels(listing, dataset.classes, getattr(dataset, "aliases", {}))
    names = [f"{i.replace('/', '_')}{Path(f).suffix.lower()}" for i, f in zip(listing.ids, listing.files, strict=True)]
    if len(set(names)) != len(names):
        raise DataError(f"{listing.tree.path}: two images would be called {_first_twice(names)!r}; rename one of them")
    digests = []
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, file in zip(names, listing.files, strict=True):
            data = listing.tree.read(file)
            digests.append(hashlib.sha256(data).hexdigest())
            archive.writestr(zipfile.ZipInfo(name), data)
    columns = {k: v for k, v in listing.columns.items() if k != "label_name"}
    columns.setdefault("duplicate_group", _twins(digests))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "id", "label", "label_name", *columns])
        for i, name in enumerate(names):
            label = dataset.classes[labels[i]] if labels[i] >= 0 else ""
            writer.writerow([name, listing.ids[i], labels[i], label, *(v[i] for v in columns.values())])


def _twins(digests: list[str]) -> tuple[str, ...]:
    """A number > 0 for each digest that occurs more than once, "0" for the others."""
    seen = dict.fromkeys(digests, 0)
    for d in digests:
        seen[d] += 1
    number = {d: str(k + 1) for k, d in enumerate(d for d, n in seen.items() if n > 1)}
    return tuple(number.get(d, "0") for d in digests)


def _first_twice(names: list[str]) -> str:
    return next(n for i, n in enumerate(names) if n in names[:i])
