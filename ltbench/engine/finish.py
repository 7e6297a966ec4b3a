"""After training: the test part once, the metrics, the pictures and the record."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltbench
from ltbench.cell import Cell
from ltbench.data.prepare import Prepared
from ltbench.engine.context import CellContext
from ltbench.engine.pool import Pool
from ltbench.engine.run import Run
from ltbench.engine.samples import draw_samples
from ltbench.features import cached
from ltbench.interfaces import GenerationRecord, ImageTable, PredictionRecord
from ltbench.models.images import resize_images
from ltbench.results.files import atomic_write
from ltbench.results.record import SCHEMA, SPLITS, Result, write_result

PACKAGES = ("torch", "torchvision", "timm", "diffusers", "numpy", "scikit-learn", "scipy", "pandas", "pillow")


def finish(run: Run, cell: Cell, data: Prepared, selected: dict[str, Any], warnings: list[str]) -> Result:
    """Evaluate the selected classifier on the test part, once and whole, and write the result."""
    context = run.context
    with context.cost.of("test", context.policy):
        test_probs = run.evaluator.predict(data.test.images, "test")
        val_probs = run.evaluator.predict(data.val.images, "val")
    warnings = [*warnings, *data.warnings]
    metrics = {"test": _classify(data, data.test, test_probs, warnings)}
    metrics["val"] = _classify(data, data.val, val_probs, [])
    pool: Pool = selected.pop("pool")
    folder = context.workdir
    if run.synthesis.generator is not None and not len(pool):
        warnings.append("the selected epoch had no synthetic images: no generation metrics")
    if len(pool):
        metrics["generation"] = _generation(run, pool, warnings)
        real = resize_images(context.train.images, run.size)
        draw_samples(folder / "samples.png", resize_images(pool.images, run.size), pool.labels, real, context)
        _provenance(folder / "synthetic.csv", pool)
    atomic_write(folder / SPLITS, json.dumps(data.ids()))
    record = {
        "schema": SCHEMA,
        "ltbench": ltbench.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cell": cell.as_dict(),
        "data": data.facts(),
        "selection": {
            "split": "test" if data.splits.validation_is_test else "val",
            "metric": run.protocol["select"],
            **selected,
        },
        "metrics": metrics,
        "weights": run.protocol["weights"],
        "cost": _cost(run),
        "environment": environment(context),
        "warnings": sorted(set(warnings)),
    }
    predictions = {
        "ids": data.test.ids,
        "y_true": data.test.labels,
        "probs": test_probs,
        "val_ids": data.val.ids,
        "val_y_true": data.val.labels,
        "val_probs": val_probs,
    }
    return write_result(folder, record, predictions)


def _classify(data: Prepared, table: ImageTable, probs: np.ndarray, warnings: list[str]) -> dict[str, Any]:
    record = PredictionRecord(table.labels, probs, data.train_counts, data.class_names, data.shot_groups)
    return evaluate_metrics("predictions", record, warnings)


def evaluate_metrics(on: str, record: Any, warnings: list[str]) -> dict[str, Any]:
    """Every metric of the catalogue that reads this kind of record; one that fails leaves a warning."""
    result: dict[str, Any] = {}
    for name in ltbench.names("metric"):
        metric = ltbench.build("metric", name)
        if metric.on != on:
            continue
        try:
            values = metric.compute(record)
        except Exception as error:  # a trained cell must not be lost to a metric
            warnings.append(f"metric {name} failed: {type(error).__name__}: {error}")
            continue
        warnings.extend(values.pop("warnings", []))
        taken = sorted(set(values) & set(result))
        if taken:
            warnings.append(f"metric {name} repeats the keys {taken} of another metric; they were left out")
        result |= {key: value for key, value in values.items() if key not in taken}
    return result


def _generation(run: Run, pool: Pool, warnings: list[str]) -> dict[str, Any]:
    """Distances in the features of a reference model, and target rates by an independent judge, with the control."""
    context, controls = run.context, {}
    with context.cost.of("generation metrics", context.policy):
        features: Any = context.reference("features")
        judge = context.reference("judge")
        controls["judge_val_accuracy"] = float(
            (judge.predict(context.val.images).argmax(1) == context.val.labels).mean()
        )
        context.at("control", 0)
        control = run.synthesis.control(pool.counts(context.task.num_classes))
        if control is not None:
            hits = judge.predict(control.images).argmax(1) == control.labels
            controls["target_rate_unguided"] = float(hits.mean())
        record = GenerationRecord(
            images=pool.images,
            labels=pool.labels,
            real_images=context.train.images,
            real_labels=context.train.labels,
            num_classes=context.task.num_classes,
            features={features.name: cached(features, context.train.images)},
            judge=judge.predict,
            seed=context.seed,
            held_out=context.held_out.images,
            held_out_labels=context.held_out.labels,
        )
        return {**evaluate_metrics("images", record, warnings), **controls}


def _provenance(path: Path, pool: Pool) -> None:
    """One line per synthetic image: where it came from and its place in the call that made it."""
    facts = [str(pool.provenance.get(k, "")) for k in ("generator", "generated_at", "fit", "stream", "guide")]
    lines = ["index,label,generator,generated_at,fit,stream,guide"]
    lines += [",".join([str(i), str(label), *facts]) for i, label in enumerate(pool.labels)]
    atomic_write(path, "\n".join(lines) + "\n")


def _cost(run: Run) -> dict[str, Any]:
    phases = run.context.cost.phases
    trained = sum(line.get("candidate_images", line.get("images", 0)) for line in run.history)
    seconds = phases.get("train", {}).get("seconds", 0.0)
    return {
        "phases": phases,
        "total_seconds": sum(phase["seconds"] for phase in phases.values()),
        "peak_memory_bytes": run.context.policy.peak_memory(),
        "images_per_second": trained / seconds if seconds else float("nan"),
    }


def environment(context: CellContext) -> dict[str, Any]:
    """Library versions, git state, device and threads: recorded, never hashed."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "missing"
    return {
        "packages": packages,
        "git": git_state(Path(ltbench.__file__).parent),
        "device": str(context.policy),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Commit and whether the tree was changed, where ltbench runs from a checkout."""
    try:
        ask = ["git", "-C", str(folder)]
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changes = subprocess.run(
            [*ask, "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit.stdout.strip(), "changed": bool(changes.stdout.strip())}
