"""`ltbench score`: a folder of images against the training part of a data set, beside the real-versus-real floor."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.errors import LtbenchError, UserError
from ltbench.launch.generate import read_manifest
from ltbench.launch.local import Report, gather, open_context, say
from ltbench.launch.pictures import read_pictures
from ltbench.results.files import to_json

KEY = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True)
class Scores:
    """metrics: result key -> value; facts: what was compared with what, with which features; notes."""

    metrics: dict[str, Any]
    facts: dict[str, Any]
    notes: tuple[str, ...]

    def json(self) -> str:
        """Everything."""
        return to_json({**self.facts, "metrics": self.metrics, "notes": list(self.notes)}).rstrip()

    def table(self) -> str:
        """One line a measure: features, value, floor and n; then each in words, what is compared, and the notes."""
        from tabulate import tabulate

        rows = self._rows()
        lines = tabulate(rows, headers=["measure", "features", "value", "floor", "n"], floatfmt=".4g")
        shown = dict.fromkeys(row[0] for row in rows)
        words = [f"{name}: {MEANING[plain_name(name)]}" for name in shown if plain_name(name) in MEANING]
        compared = [f"{key}: {self.facts[key]}" for key in ("images", "against", "floor", "extractors")]
        return "\n".join([lines, "", *words, "", *compared, *(f"note: {note}" for note in self.notes)])

    def _rows(self) -> list[list[Any]]:
        m, rows = self.metrics, []
        for key, value in m.items():
            found = KEY.fullmatch(key)
            measure, features = (found[1], found[2]) if found else (key, "")
            hidden = measure.endswith("_floor") or "per_class" in measure or measure in HIDDEN
            if isinstance(value, list) or hidden:
                continue
            floor = m.get(f"{measure}_floor[{features}]" if features else f"{measure}_floor", "")
            rows.append([measure, features, value, floor, self._n(measure)])
        return rows

    def _n(self, measure: str) -> Any:
        m = self.metrics
        if measure in ("precision", "recall", "density", "coverage", "copy_ratio"):
            return int(m["n_neighbours"])
        if "_macro" in measure and not measure.startswith("target"):
            return f"{int(m.get('classes_counted', 0))} classes"
        pooled = measure.endswith(("_matched", "_infinity")) or measure.startswith(("target", "diversity", "nearest"))
        return int(m["n_pool"]) if pooled else int(m["n"])


ORIGIN = ("generator", "seed", "fit", "asked", "kept", "notes")
MEANING = {
    "fd": "Frechet distance of n images to n training images, each in its own class mix; it sees a difference in mix",
    "fd_matched": "of all images to all training images weighted to the class mix of the images; has no floor",
    "fd_infinity": "of all images to all training images unweighted, extrapolated to infinitely many images; no floor",
    "fd_macro": "mean over the counted classes of the distance within a class, in the leading principal axes",
    "kd": "kernel distance (as KID, not times 1000) of the same images as fd; may be below 0",
    "kd_macro": "mean over the counted classes of the kernel distance within a class",
    "precision": "share of images within a 3-nearest-neighbour ball of a training image",
    "recall": "share of training images within a 3-nearest-neighbour ball of an image",
    "density": "mean number of 5-nearest-neighbour balls of training images around an image, over 5; may exceed 1",
    "coverage": "share of training images whose 5-nearest-neighbour ball holds an image",
    "copy_ratio": "nearness to training images over that of validation images: 0 for copies, about 1 for new ones",
    "target_rate": "share of images that the judge gives their class; floor: of validation images in their class mix; "
    "_tail: of the three rarest classes",
    "diversity_ratio": "spread of pixels within a class over that of training images",
    "nearest_ratio": "share of images nearer in pixels to a training image than 99 % of those are to each other",
}
HIDDEN = {"n", "n_pool", "n_neighbours", "fd_floor", "rank_deficient", "classes_counted", "target_rate_class"}


def plain_name(measure: str) -> str:
    """The measure's name where FID and KID are called Frechet and kernel distance like all others."""
    return re.sub("^(f|k)id", r"\1d", measure)


def score(
    folder: Path,
    against: str,
    *,
    extractors: Sequence[str] = ("reference",),
    protocol: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    data_root: Any = None,
    device: str = "auto",
    report: Report = say,
) -> Scores:
    """Every image metric of the catalogue on a folder; with class folders also class by class and by the judge."""
    from ltbench.engine.finish import evaluate_metrics
    from ltbench.features import build_extractor, cached
    from ltbench.interfaces import GenerationRecord
    from ltbench.metrics.features import checked
    from ltbench.models.images import resize_images

    job = gather({}, against, protocol, seed, overrides or {}, data_root, device)
    train, val = job.data.train, job.data.held_out
    size, channels = job.cell.recipe["protocol"]["image_size"], train.images.shape[3]
    pictures = read_pictures(folder, job.data.class_names, size, channels)
    real, labelled = resize_images(np.asarray(train.images), size), bool((pictures.labels >= 0).all())
    warnings: list[str] = list(dict.fromkeys([*job.data.warnings, *pictures.notes]))
    if len(real) < 4:
        raise UserError(f"{against} has {len(real)} training images; two halves of at least 2 are needed")
    with tempfile.TemporaryDirectory() as scratch:
        context = open_context(job, Path(scratch), device, report)
        chosen: dict[str, Any] = {}
        for spec in dict.fromkeys(extractors):
            ours = context.reference("features") if spec == "reference" else None
            extractor: Any = ours or build_extractor(spec, real, context.device)
            chosen[extractor.name] = extractor
        record = GenerationRecord(
            images=pictures.images,
            labels=pictures.labels,
            real_images=real,
            real_labels=train.labels,
            num_classes=len(job.data.class_names),
            features={name: cached(extractor, real) for name, extractor in chosen.items()},
            judge=context.reference("judge").predict if labelled else None,
            seed=seed,
            held_out=val.images,
            held_out_labels=val.labels,
        )
        for name, extract in record.features.items():
            checked(extract(record.images), name, names=pictures.files)
        metrics = evaluate_metrics("images", record, warnings)
        if not metrics:
            raise LtbenchError(f"nothing could be measured; {'; '.join(warnings)}")
        metrics |= _infinity(record)
    n = int(metrics.get("n", 0))
    described = [f"{name} ({e.preprocess}; weights {e.weights[:12]})" for name, e in chosen.items()]
    facts = {
        "images": f"{folder}, {len(pictures.images)} images" + ("" if labelled else " without classes"),
        "against": f"training part of {job.cell.dataset}, protocol {job.cell.protocol}, {len(real)} images",
        "floor": f"two disjoint random halves of the training part, {n} images each" if n else "none",
        "extractors": "; ".join(described),
        "held_out": f"validation part, {len(val)} images (for copy_ratio and the floor of target_rate)",
        "origin": {key: value for key, value in read_manifest(folder).items() if key in ORIGIN},
        "seed": seed,
    }
    return Scores(metrics, facts, tuple(warnings))


def _infinity(record: Any) -> dict[str, float]:
    """The Frechet distance extrapolated to infinitely many fakes, where they are at least four times the dimensions."""
    from ltbench.metrics import FeatureStats, frechet_infinity, measure_names

    found = {}
    for name, extract in record.features.items():
        fd, _ = measure_names(name, extract.weights)
        fake, real = np.asarray(extract(record.images)), np.asarray(extract(record.real_images))
        if len(fake) >= 4 * fake.shape[1]:
            rng = np.random.default_rng([record.seed, 3])
            found[f"{fd}_infinity[{name}]"] = frechet_infinity(FeatureStats.of(real).compact(), fake, rng).value
    return found
