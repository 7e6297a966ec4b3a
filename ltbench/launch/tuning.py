"""`ltbench tune`: equally many trials of every method on validation alone, and a file of what they chose."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltbench.cell import canonical, digest
from ltbench.errors import Diverged, UserError
from ltbench.launch.local import Job, chosen_protocol, load_data, say
from ltbench.launch.trials import clear, read_trial, seconds, total_seconds, train_trial
from ltbench.recipe import Draft, resolve_with
from ltbench.search import Space, draws, open_options
from ltbench.tuned import conditions, write_tuned

SEED = 1000  # that of no cell in a table, so that no reported training was among those chosen from
FOLDER = "tuning"


@dataclass(frozen=True)
class Plan:
    """What every method's trials share."""

    dataset: str
    protocol: str
    trials: int
    seed: int
    overrides: Mapping[str, Any]
    out: Path
    data_root: str | Path | None = None
    device: str = "auto"

    def draft(self, method: str, options: Mapping[str, Any]) -> tuple[Draft, Any]:
        """The recipe of a trial with these options, and its data set."""
        return resolve_with(
            options, method, self.dataset, self.protocol, self.seed, {**self.overrides, "seed": self.seed}
        )


def tune(
    *,
    methods: Sequence[str],
    dataset: str,
    protocol: str | None,
    trials: int,
    seed: int = SEED,
    overrides: Mapping[str, Any] | None = None,
    out: Path | str = "runs",
    data_root: str | Path | None = None,
    device: str = "auto",
    dry_run: bool = False,
) -> tuple[Path | None, str]:
    """Run the trials and write the tuned file; returns its path and a table. dry_run: only what would be tried.

    Raises UserError for a budget below 1, a method without anything to tune and a protocol whose validation part is
    the test part, Diverged where no trial of a method ended well.
    """
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise UserError(f"--trials must be a whole number of at least 1, got {trials!r}")
    given = dict(overrides or {})
    chosen = chosen_protocol(protocol, given, device)
    plan = Plan(dataset, chosen, trials, seed, given, Path(out), data_root, device)
    methods = list(dict.fromkeys(methods))
    spaces = {method: _spaces(plan, method) for method in methods}  # a wrong name stops before the first trial
    if dry_run:
        return None, "\n\n".join(_listed(plan, method, spaces[method]) for method in methods)
    data: dict[str, Any] = {}
    entries: dict[str, Any] = {}
    failed, path, metric = [], None, ""
    for method in methods:
        jobs = [_job(plan, method, options, data) for options in draws(spaces[method], trials, seed)]
        first = jobs[0][1]
        if path is None:
            where = {**conditions(first.draft), "data": first.data.content}
            path, metric = _file(plan, first, where), first.draft.recipe["protocol"]["select"]
        try:
            entries[first.draft.method] = _entry(method, _trials(plan, jobs))
        except Diverged as error:
            failed.append(str(error))
            continue
        write_tuned(path, {"where": where, "trials": trials, "seed": seed, "metric": metric, "methods": entries})
    if failed:
        raise Diverged("; ".join(failed) + (f"; the other methods are in {path}" if entries else ""))
    return path, _table(entries, metric)


def _spaces(plan: Plan, method: str) -> dict[str, Space]:
    draft, _ = plan.draft(method, {})
    spaces = open_options(draft)
    if not spaces:
        raise UserError(
            f"method {method!r} has nothing to tune under protocol {draft.protocol}: neither the SEARCH of a component "
            'nor the "search" of the protocol leaves an option open; see docs/writing-a-plugin.md'
        )
    return spaces


def _job(plan: Plan, method: str, options: Mapping[str, Any], loaded: dict[str, Any]) -> tuple[Mapping[str, Any], Job]:
    draft, source = plan.draft(method, options)
    rest = {key: value for key, value in draft.recipe["protocol"].items() if key != "optimizer"}
    key = canonical([draft.recipe["dataset"], rest])
    if key not in loaded:
        loaded[key] = load_data(source, draft.recipe, plan.data_root)
    data = loaded[key]
    if data.splits.validation_is_test:
        raise UserError(
            f"the validation part of protocol {draft.protocol} is its test part, so tuning would choose on the test "
            "part; tune under a protocol with a validation part of its own"
        )
    return options, Job(draft, draft.freeze(n_train=len(data.train), content=data.content), data, [])


def _trials(plan: Plan, jobs: Sequence[tuple[Mapping[str, Any], Job]]) -> list[dict[str, Any]]:
    """The record of every trial in order; those that another process holds are left to it and waited for."""
    import filelock

    records: dict[int, dict[str, Any]] = {}
    while len(records) < len(jobs):
        before = len(records)
        for number, (options, job) in enumerate(jobs):
            folder = job.cell.folder(plan.out / FOLDER)
            if number in records:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with filelock.FileLock(folder / "lock", timeout=0):
                    known = read_trial(folder, job)
                    records[number] = known or train_trial(job, folder, options, plan.device, _quiet)
                    clear(folder)
                    gc.collect()  # a trial's networks and data refer to each other
                    _tell(job, number, len(jobs), records[number], reused=known is not None)
            except filelock.Timeout:
                continue
        if len(records) == before:
            time.sleep(1)
    return [records[number] for number in range(len(jobs))]


def _quiet(text: str) -> None:
    """A trial is one line."""


def _tell(job: Job, number: int, trials: int, record: Mapping[str, Any], reused: bool) -> None:
    score = "diverged" if record["score"] is None else f"{record['score']:.4f}"
    took = "kept from before" if reused else f"{seconds(record):.1f} s"
    metric, options = job.draft.recipe["protocol"]["select"], _shown(record["options"])
    say(f"{job.draft.method} trial {number} ({trials} in all): {metric} {score}, {took} ({options})")


def _entry(method: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file says of a method; the first of equals is the best, so the defaults win a tie."""
    scores = [record["score"] for record in records]
    if all(score is None for score in scores):
        raise Diverged(f"every trial of {method} diverged: {records[0]['error']}; tune under a lower learning rate")
    best = max(range(len(scores)), key=lambda i: (scores[i] is not None, scores[i] or 0.0, -i))
    kept = ("options", "score", "epoch", "error")
    return {
        "options": records[best]["options"],
        "best": best,
        "score": scores[best],
        "default_score": scores[0],
        "seconds": round(total_seconds(records, best), 3),
        "default": records[0]["cell"],
        "trials": [{**{key: r[key] for key in kept}, "seconds": round(seconds(r), 3)} for r in records],
    }


def _file(plan: Plan, job: Job, where: Mapping[str, Any]) -> Path:
    """One file for equal conditions and budget, so that methods tuned by several commands come together."""
    name = f"{job.cell.protocol}-{plan.trials}trials-seed{plan.seed}-{digest(dict(where))[:8]}.json"
    return Path(plan.out, FOLDER, job.cell.dataset.replace("/", "_"), name.replace("/", "_"))


def _shown(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items()) or "defaults"


def _listed(plan: Plan, method: str, spaces: Mapping[str, Space]) -> str:
    lines = [f"{method}: {plan.trials} trials"]
    lines += [f"  {key}: {space}" for key, space in spaces.items()]
    lines += [f"  trial {n}: {_shown(options)}" for n, options in enumerate(draws(spaces, plan.trials, plan.seed))]
    return "\n".join(lines)


def _table(entries: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    from tabulate import tabulate

    def number(score: float | None) -> str:
        return "diverged" if score is None else f"{100 * score:.2f}"

    header = ("method", "trials", f"default {metric}", "best", "trial", "seconds", "options")
    rows = []
    for name, e in entries.items():
        scores = number(e["default_score"]), number(e["score"])
        rows.append((name, len(e["trials"]), *scores, e["best"], f"{e['seconds']:.0f}", _shown(e["options"])))
    return tabulate(rows, headers=header, disable_numparse=True)
