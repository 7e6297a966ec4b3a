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
        """One line a measure: features, value, floor and n; then what is compared, and the notes."""
        from tabulate import tabulate

        lines = tabulate(self._rows(), headers=["measure", "features", "value", "floor", "n"], floatfmt=".4g")
        compared = [f"{key}: {self.facts[key]}" for key in ("images", "against", "floor", "extractors")]
        return "\n".join([lines, "", *compared, *(f"note: {note}" for note in self.notes)])

    def _rows(self) -> list[list[Any]]:
        m, rows = self.metrics, []
        for key, value in m.items():
            found = KEY.fullmatch(key)
            measure, features = (found[1], found[2]) if found else (key, "")
            hidden = measure.endswith("_floor") or "per_class" in measure or measure in HIDDEN
            if isinstance(value, list) or hidden:
                continue
            floor = m.get(f"{measure}_floor[{features}]", "")
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
HIDDEN = {"n", "n_pool", "n_neighbours", "fd_floor", "rank_deficient", "classes_counted", "target_rate_class"}


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
    train, val = job.data.train, job.data.val
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
        "held_out": f"validation part, {len(val)} images (for copy_ratio)",
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
