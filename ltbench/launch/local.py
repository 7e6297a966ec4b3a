"""Run cells in this process: resolve, prepare, reuse, train, record."""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.cell import Cell
from ltbench.errors import Busy, CheckpointError, LtbenchError, UserError
from ltbench.plugins import plugins
from ltbench.recipe import SLOTS, Draft, resolve
from ltbench.results.files import FULL, atomic_write, to_json, write_error
from ltbench.results.record import CONFIG, HISTORY, HOLDER, LOCK, RESULT, SPLITS, Result, read_result

if TYPE_CHECKING:
    from ltbench.engine.context import CellContext

Report = Callable[[str], None]
LOOK = 0.5  # seconds: `status` and `pack` hold a cell's lock for a moment to see whether it is free


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output holds the result alone."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Job:
    """A cell that is resolved and whose data is in memory."""

    draft: Draft
    cell: Cell
    data: Any
    warnings: list[str]


def chosen_protocol(protocol: str | None, overrides: Mapping[str, Any], device: str = "auto") -> str:
    """The protocol asked for; by default `standard` with a CUDA device and weights given by path, else `quick`."""
    if protocol or device == "cpu" or not overrides.get("weights", overrides.get("protocol.weights")):
        return protocol or "quick"
    import torch

    return "standard" if torch.cuda.is_available() else "quick"


def plan(
    method: str,
    dataset: str,
    protocol: str | None,
    seed: int,
    overrides: Mapping[str, Any],
    data_root: Any = None,
    device: str = "auto",
) -> Job:
    """Resolve a cell and load its data."""
    job = gather(method, dataset, protocol, seed, overrides, data_root, device)
    return replace(job, warnings=questionable(job.draft))


def gather(
    method: str | Mapping[str, Any],
    dataset: str,
    protocol: str | None,
    seed: int,
    overrides: Mapping[str, Any],
    data_root: Any = None,
    device: str = "auto",
) -> Job:
    """Resolve a method, or a bare recipe, and load the data, without a look at how its parts fit.

    UserError for an override of a part that a bare recipe leaves out, and for a seed of splits that changes nothing.
    """
    idle = [key for key in overrides if isinstance(method, Mapping) and key.split(".")[0] in {*SLOTS} - {*method}]
    if idle:
        uses = ", ".join(["dataset", "protocol", *method])
        raise UserError(f"--set {idle[0]} changes nothing here, where only {uses} are used; leave it out")
    draft, source = resolve(method, dataset, chosen_protocol(protocol, overrides, device), seed, overrides)
    data = load_data(source, draft.recipe, data_root)
    fields = draft.recipe["protocol"]
    if data.idle_seed and not draft.recipe["generator"]:  # whose fit the seed of the split draws
        raise UserError(
            f"protocol.split_seed={fields['split_seed']} changes nothing for {draft.method} on {draft.dataset}: split "
            f"{fields['split']!r} gives the same parts for every seed; leave it out, or the cell would count as another"
        )
    return Job(draft, draft.freeze(n_train=len(data.train), content=data.content), data, [])


def load_data(source: Any, recipe: Mapping[str, Any], data_root: Any = None) -> Any:
    """The three parts that a resolved recipe asks of its data set `source`."""
    from ltbench.data.prepare import prepare
    from ltbench.data.roots import data_root as find_root

    fields, section = recipe["protocol"], recipe["dataset"]
    return prepare(
        source,
        root=find_root(data_root),
        stored_size=fields["stored_size"],
        image_size=fields["image_size"],
        scheme=fields["split"],
        split_seed=fields["split_seed"],
        imbalance=section["imbalance"],
        shuffle_labels=section["shuffle_labels"],
        max_train=fields["max_train"],
    )


def questionable(draft: Draft) -> list[str]:
    """Warnings: loss and sampler both correct for the class counts, or a generator that no sampler asks for images."""
    import ltbench
    from ltbench.interfaces import Sampler

    remarks, names = [], {slot: (draft.recipe[slot] or {}).get("name") for slot in ("loss", "sampler", "generator")}
    sampler = ltbench.build("sampler", draft.recipe["sampler"])
    loss = ltbench.build("loss", draft.recipe["loss"]) if names["loss"] else None
    if loss is not None and loss.uses_class_counts and sampler.uses_class_counts:
        remarks.append(
            f"double correction: loss {names['loss']} and sampler {names['sampler']} both correct for the class counts"
        )
    if names["generator"] and type(sampler).synthetic_counts is Sampler.synthetic_counts:
        remarks.append(
            f"generator {names['generator']} is never used: sampler {names['sampler']} asks for no synthetic images; "
            "use --set sampler=fixed-quota --set sampler.ratio=0.2"
        )
    tuning = draft.recipe.get("tuning")
    if tuning and tuning["seed"] == draft.seed:
        remarks.append(f"seed {draft.seed} is that of tuning: this very training was among the trials chosen from")
    return remarks


def run_one(
    *,
    method: str,
    dataset: str,
    protocol: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    out: Path = Path("runs"),
    data_root: Any = None,
    device: str = "auto",
    force: bool = False,
    keep_model: bool = False,
    report: Report = say,
) -> Result:
    """Run one cell or return its stored result."""
    job = plan(method, dataset, protocol, seed, overrides or {}, data_root, device)
    return run_job(job, out=out, device=device, force=force, keep_model=keep_model, report=report)


def run_job(
    job: Job, *, out: Path, device: str = "auto", force: bool = False, keep_model: bool = False, report: Report = say
) -> Result:
    """Train, evaluate and record a planned cell; a finished one is read, an unfinished one resumed."""
    return compute(job, out=out, device=device, force=force, keep_model=keep_model, report=report)[0]


def compute(
    job: Job, *, out: Path, device: str = "auto", force: bool = False, keep_model: bool = False, report: Report = say
) -> tuple[Result, bool]:
    """As `run_job`; also whether this call computed the cell."""
    folder = job.cell.folder(out)
    if (folder / RESULT).exists() and not (folder / HOLDER).exists() and not force:
        return _reuse(job, folder, report), False
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(timeout=LOOK)
    except filelock.Timeout as error:
        raise Busy(
            f"{job.cell} is being run by another process ({_holder(folder)}); wait for it, or use another --out"
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise write_error(folder, error) from error
        raise LtbenchError(
            f"the result folder {folder} cannot be written ({error.strerror}); choose another with --out"
        ) from error
    try:
        if (folder / RESULT).exists() and not force:  # finished before the lock was free, or killed while it tidied up
            _tidy(folder, keep_model)
            return _reuse(job, folder, report), False
        for partial in folder.glob(".*.part"):  # of a process that was killed while it wrote
            partial.unlink(missing_ok=True)
        atomic_write(folder / HOLDER, f"{os.getpid()} on {platform.node()}")
        if force:
            for name in ("checkpoint.pt", "best.pt", RESULT):
                (folder / name).unlink(missing_ok=True)
        result = _train(job, folder, device, report)
        gc.collect()  # a run and its listeners refer to each other; a worker would keep the images of many cells
        _tidy(folder, keep_model)
    finally:
        lock.release()
    return result, True


def _tidy(folder: Path, keep_model: bool) -> None:
    """Remove what a finished cell no longer needs; the holder goes last, so that it tells of anything left."""
    for name in ("checkpoint.pt", HOLDER) if keep_model else ("checkpoint.pt", "best.pt", HOLDER):
        (folder / name).unlink(missing_ok=True)


def _reuse(job: Job, folder: Path, report: Report) -> Result:
    """The stored result, unless its files were changed or it was made on another split of the data."""
    from ltbench.results.verify import changed_files

    result = read_result(folder)
    damaged = changed_files(result)
    if damaged:
        raise CheckpointError(f"the stored result is damaged: {damaged[0]}. Compute it again with --force")
    stored = json.loads((folder / SPLITS).read_text()) if (folder / SPLITS).exists() else {}
    today = job.data.ids()
    for part in stored:
        if sorted(stored[part]) != sorted(today[part]):
            raise CheckpointError(
                f"{folder} was made on another split: its {part} part ({len(stored[part])} images) is not today's "
                f"({len(today[part])}); groups or the split column of the data changed. Compute again with --force"
            )
    report(f"{job.cell}: already finished, reused ({folder})")
    return result


def open_context(job: Job, folder: Path, device: str, report: Report) -> CellContext:
    """The context of a planned cell, on the chosen device and with the user's fit cache."""
    from ltbench.data.roots import cache_root
    from ltbench.engine.context import CellContext
    from ltbench.engine.device import DevicePolicy
    from ltbench.engine.fits import FitCache

    recipe = job.cell.recipe
    policy = DevicePolicy.choose(device, recipe["protocol"]["precision"], recipe["protocol"]["image_size"])
    return CellContext(
        recipe=recipe,
        versions=job.cell.as_dict()["versions"],
        data=job.data,
        policy=policy,
        cache=FitCache(cache_root(), policy.device, report),
        workdir=folder,
        report=report,
        weights_path=job.draft.weights_path,
    )


def _train(job: Job, folder: Path, device: str, report: Report) -> Result:
    from ltbench.engine.finish import finish
    from ltbench.engine.run import Run

    recipe, events = job.cell.recipe, plugins().events
    context = open_context(job, folder, device, report)
    context.policy.forget_peak()
    for warning in (*job.warnings, *job.data.warnings):
        report(f"warning: {warning}")
    sizes = f"{len(job.data.train)} train, {len(job.data.val)} val, {len(job.data.test)} test"
    report(f"{job.cell}: {sizes}, {recipe['protocol']['epochs']} epochs on {context.policy}")
    atomic_write(folder / CONFIG, to_json(recipe))
    events.ltbench_cell_started(cell=job.cell)
    told = time.monotonic()

    def listen(epoch: int, line: dict[str, Any]) -> None:
        nonlocal told
        atomic_write(folder / HISTORY, "".join(json.dumps(json.loads(to_json(x))) + "\n" for x in run.history))
        events.ltbench_epoch_finished(cell=job.cell, epoch=epoch, log={**line, "step": len(run.history) - 1})
        last = epoch + 1 == recipe["protocol"]["epochs"]
        if last or time.monotonic() - told > 5:
            told = time.monotonic()
            score = "not scored" if math.isnan(line["val_score"]) else f"{line['val_score']:.4f}"
            report(
                f"  {line['stage']} epoch {epoch + 1}: loss {line.get('loss', float('nan')):.4f}, "
                f"validation {recipe['protocol']['select']} {score}"
            )

    run = Run(context, job.cell.hash, listen)
    selected, tuning = run.train(), recipe.get("tuning")
    if tuning:  # spent before, by the trials that chose the options
        context.cost.add("tuning", tuning["seconds"], cached=True)
    result = finish(run, job.cell, job.data, selected, list(job.warnings))
    events.ltbench_cell_finished(cell=job.cell, result=result)
    return result


def _holder(folder: Path) -> str:
    try:
        return f"process {(folder / HOLDER).read_text()}"
    except OSError:
        return "unknown process"


def estimate(job: Job, out: Path) -> str:
    """The time a cell takes, from finished ones of the same kind below `out`, else unknown."""
    seconds = seconds_of(job, out)
    if seconds:
        cells = "a finished cell" if len(seconds) == 1 else f"{len(seconds)} finished cells"
        return f"about {sum(seconds) / len(seconds):.0f} s, as {cells} of this kind"
    images = len(job.data.train) * job.cell.recipe["protocol"]["epochs"]
    return f"{images} training images to show; the time is known after the first cell of this kind"


def seconds_of(job: Job, out: Path) -> list[float]:
    """What finished cells of the same kind below `out` took."""
    same = Path(out, job.cell.dataset, job.cell.method, job.cell.protocol).glob(f"*/{RESULT}")
    return [seconds for seconds in map(_seconds, same) if seconds is not None]


def _seconds(path: Path) -> float | None:
    """What a finished cell took, without what was spent on tuning before; None for a damaged record."""
    try:
        cost = json.loads(path.read_text())["cost"]
        return float(cost["total_seconds"]) - float(cost["phases"].get("tuning", {}).get("seconds", 0))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe(job: Job, out: Path) -> str:
    """Every resolved value with its origin and fidelity, the time estimate and the hash."""
    from ltbench.recipe import flatten

    rows = []
    for key, value in flatten(job.cell.recipe).items():
        origin = job.draft.origins.get(key, job.draft.origins.get(key.rpartition(".")[0], ""))
        fidelity = "" if origin.startswith(("tier", "tuned", "--set")) else job.draft.fidelity.get(key, "")
        rows.append((key, str(value), origin, fidelity))
    wide = [min(max(len(row[i]) for row in rows), 48) for i in range(3)]
    lines = [f"{k:<{wide[0]}}  {v:<{wide[1]}}  {o:<{wide[2]}}  {f}".rstrip() for k, v, o, f in rows]
    return "\n".join([str(job.cell), *lines, f"time  {estimate(job, out)}", f"hash  {job.cell.hash[:8]}"])
