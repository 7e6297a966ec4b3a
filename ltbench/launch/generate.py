"""`ltbench generate`: a generator fitted on the training part of a data set, its images as files with their origin."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltbench.errors import LtbenchError, UserError
from ltbench.launch.local import Report, gather, open_context, say
from ltbench.results.files import atomic_write, to_json

MANIFEST = "manifest"
MOST = 10_000_000  # images of one call
UNFINISHED = ".unfinished"  # the folder below --out that holds the images until all are written


@dataclass(frozen=True)
class Counts:
    """What was asked: `count` of every class, `counts` as text "a,b,c", or `total` in the class mix; exactly one.

    UserError for anything but one choice of whole numbers of at least 0, one of them above, 10 million in all.
    """

    count: int | None = None
    counts: str | None = None
    total: int | None = None

    def __post_init__(self) -> None:
        given = {"--count": self.count, "--counts": self.counts, "--total": self.total}
        named = {option: value for option, value in given.items() if value is not None}
        if len(named) != 1:
            got = f", not {' and '.join(named)}" if named else ""
            raise UserError(
                f"how many images? give one of --count N (of every class), --counts A,B,C or --total N{got}"
            )
        (option,) = named
        numbers = self._listed() if option == "--counts" else [int(named[option] or 0)]
        if option != "--counts" and numbers[0] < 1:
            raise UserError(f"{option} must be at least 1, got {numbers[0]}")
        if min(numbers) < 0 or not 0 < sum(numbers) <= MOST:
            raise UserError(f"the numbers of images must be at least 0 and one above, {MOST:,} in all, got {numbers}")

    def _listed(self) -> list[int]:
        try:
            return [int(part) for part in str(self.counts).split(",")]
        except ValueError:
            raise UserError(f"--counts needs whole numbers such as 10,10,50, got {self.counts!r}") from None

    def resolve(self, train_counts: np.ndarray) -> np.ndarray:
        """Images of each class int64 (C,); UserError for another number of classes."""
        classes = len(train_counts)
        if self.counts is None:
            every = np.full(classes, self.count or 0, dtype=np.int64)
            return every if self.count else _shares(int(self.total or 0), train_counts)
        wanted = np.array(self._listed(), dtype=np.int64)
        if len(wanted) != classes:
            raise UserError(f"--counts names {len(wanted)} classes, the data set has {classes}; give one each")
        return wanted


def generate(
    generator: str,
    dataset: str,
    counts: Counts,
    out: Path,
    *,
    protocol: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    data_root: Any = None,
    device: str = "auto",
    report: Report = say,
) -> str:
    """Fit (or find in the cache), draw, write; returns one line that says what was asked and what was kept.

    Guided generators are steered by the reference classifier. Started by torchrun or `accelerate launch`, all processes
    fit and the first one draws. A killed call, made again, resumes the fit and draws the same images. UserError where
    `out` holds files of anything else, LtbenchError where it cannot be written.
    """
    from ltbench.engine import processes

    if "generator" in (overrides or {}):
        raise UserError(f"--set generator contradicts --generator {generator}; name it there")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is no folder; name a new one with --out")
    if out.exists() and any(path.name != UNFINISHED for path in out.iterdir()):
        raise UserError(f"{out} is not an empty folder; name a new one with --out, or remove it")
    _check_writable(out)
    processes.join(device)  # behind the look at the folder, which the first process fills
    try:
        job = gather({"generator": generator}, dataset, protocol, seed, overrides or {}, data_root, device)
        wanted = counts.resolve(job.data.train_counts)
        context = open_context(job, out, device, report)
        spec, rank = job.cell.recipe["generator"], processes.rank()
        for warning in job.data.warnings:
            report(f"warning: {warning}")
        built = context.fit_generator(spec)
        if built.guided:
            context.reference("guide")  # on all processes: a fit takes each of them
    finally:
        processes.leave()
    if rank:
        return f"process {rank} has helped to fit"
    images, labels, guide = _draw(built, wanted, context)
    fits = dict(sorted(context.fits.items()))
    facts = {"generator": spec["name"], "seed": seed, "fit": "+".join(key[:12] for key in fits.values())}
    names = job.data.class_names
    kept = np.bincount(labels, minlength=len(names))
    about = {
        **facts,
        "dataset": job.cell.dataset,
        "protocol": job.cell.protocol,
        "classes": list(names),
        "asked": wanted.tolist(),
        "kept": kept.tolist(),
        "guide": guide,
        "notes": built.notes(),
        "fits": fits,
        "recipe": job.cell.recipe,
        "versions": job.cell.as_dict()["versions"],
        "data": job.data.content,
        "environment": _environment(context),
        "shape": list(images.shape[1:]),
    }
    _write(out, images, labels, names, facts, to_json(about))
    return f"asked {wanted.sum()} images, kept {kept.sum()}: {out}"


def _check_writable(out: Path) -> None:
    """LtbenchError where no file can be made in `out`, or in the folder that will hold it; leaves nothing behind."""
    try:
        above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=above):
            pass
    except OSError as error:
        raise LtbenchError(f"{out} cannot be written ({error.strerror}); choose another with --out") from error


def _draw(built: Any, wanted: np.ndarray, context: Any) -> tuple[np.ndarray, np.ndarray, str]:
    from ltbench.engine.guide import ClassifierGuide, frozen
    from ltbench.engine.pool import Pool

    context.at("generate", 0)
    rng, shape = context.rng("generate"), context.task.image_shape
    if not built.guided:
        images, labels = built.sample(wanted, guide=None, rng=rng)
        name = ""
    else:
        reference: Any = context.reference("guide")
        name = reference.name
        context.at("generate", 0)
        guide = ClassifierGuide(reference.classifier.logits, shape, built.value_range)
        with frozen(reference.classifier):
            images, labels = built.sample(wanted, guide=guide, rng=rng)
    pool = Pool(images, labels).check(wanted, shape[2], type(built).__name__, built.exact)
    return pool.images, pool.labels, name


def _write(
    out: Path, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...], facts: Mapping[str, Any], about: str
) -> None:
    """All files, which appear in `out` once the last one is written."""
    from PIL import Image

    folders, part = class_folders(names), out / UNFINISHED
    shutil.rmtree(part, ignore_errors=True)  # of a killed call
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["file", "label", "class", "generator", "seed", "index", "fit"])
    for index in np.argsort(labels, kind="stable"):
        label = int(labels[index])
        path = Path(folders[label], f"{index:06d}.png")
        data = io.BytesIO()
        Image.fromarray(images[index][:, :, 0] if images.shape[3] == 1 else images[index]).save(data, "png")
        (part / path.parent).mkdir(parents=True, exist_ok=True)
        (part / path).write_bytes(data.getvalue())
        lines.writerow([path.as_posix(), label, names[label], facts["generator"], facts["seed"], index, facts["fit"]])
    atomic_write(part / f"{MANIFEST}.csv", table.getvalue())
    atomic_write(part / f"{MANIFEST}.json", about)
    for path in part.iterdir():
        path.rename(out / path.name)
    part.rmdir()


def class_folders(names: tuple[str, ...]) -> list[str]:
    """A folder name for each class: its name, where a file system takes it, else with underscores and its number."""
    plain = [re.sub(r"[^\w.+-]+", "_", name).strip("._") for name in names]
    odd = [not p or plain.count(p) > 1 for p in plain]
    return [f"{k}_{p}" if odd[k] else p for k, p in enumerate(plain)]


def _shares(total: int, counts: np.ndarray) -> np.ndarray:
    """`total` in proportion to counts, by the largest remainder."""
    exact = total * counts / counts.sum()
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: max(total - shares.sum(), 0)]] += 1
    return shares


def _environment(context: Any) -> dict[str, Any]:
    from ltbench.engine.finish import environment

    return environment(context)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `generate` wrote beside its images; {} for a folder of other origin."""
    try:
        facts = json.loads((folder / f"{MANIFEST}.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
