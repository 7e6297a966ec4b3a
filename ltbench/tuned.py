"""The outcome of `ltbench tune`: a file with the chosen options of each method, and what they may be used for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.cell import Cell, digest
from ltbench.errors import CheckpointError, UserError
from ltbench.recipe import Draft, resolve_with
from ltbench.results.files import atomic_write, sha256, to_json

if TYPE_CHECKING:
    from ltbench.interfaces import Dataset

FORMAT = "ltbench-tuned-1"
KEYS = {"format", "ltbench", "where", "trials", "seed", "metric", "methods", "sha256"}


def conditions(draft: Draft) -> dict[str, Any]:
    """What a cell must share with the trials: data set and its axes, split, protocol, weights."""
    protocol, section = draft.recipe["protocol"], draft.recipe["dataset"]
    axes = {key: section[key] for key in ("imbalance", "shuffle_labels")}
    names = {"dataset": draft.dataset, "protocol": draft.protocol, "weights": protocol["weights"]}
    return {**names, **axes, "split": protocol["split"], "split_seed": protocol["split_seed"]}


@dataclass(frozen=True)
class TunedFile:
    """A whole tuned file: `data` holds where, trials, seed, metric and methods."""

    path: Path
    data: dict[str, Any]

    def resolve(
        self,
        method: str | Mapping[str, Any],
        dataset: str,
        protocol: str,
        seed: int,
        overrides: Mapping[str, Any],
    ) -> tuple[Draft, Dataset]:
        """The draft of a cell with this file's options and its data set; UserError where they are not for it."""
        data = self.data
        plain, _ = resolve_with({}, method, dataset, protocol, 0, {**overrides, "seed": data["seed"]})
        again = f"tune it: {command(plain, data['trials'])}"
        for key, value in conditions(plain).items():
            was = data["where"].get(key)
            if was != value:
                raise UserError(f"{self.path} was tuned with {key} {was}, this cell has {value}; {again}")
        if plain.method not in data["methods"]:
            known = ", ".join(data["methods"])
            raise UserError(f"{self.path} holds no options of method {plain.method!r}, only of {known}; {again}")
        entry = data["methods"][plain.method]
        draft, source = resolve_with(entry["options"], method, dataset, protocol, seed, overrides)
        facts = {key: entry[key] for key in ("best", "score", "seconds")}
        budget = {"trials": data["trials"], "seed": data["seed"], "metric": data["metric"]}
        draft.recipe["tuning"] = {**budget, **facts, "entry": digest([data["where"], budget, entry])}
        draft.tuned = Tuned(self, plain, entry)
        return draft, source


def command(draft: Draft, trials: int) -> str:
    """How a method is tuned."""
    return f"ltbench tune --methods {draft.method} --dataset {draft.dataset} --trials {trials}"


@dataclass(frozen=True)
class Tuned:
    """The options of one method in a file; plain: the same recipe untuned at the seed of tuning, which was trial 0."""

    file: TunedFile
    plain: Draft
    entry: Mapping[str, Any]

    def checked(self, freeze: Callable[[Draft], Cell]) -> dict[str, Any]:
        """What the cell records of the file; UserError where trial 0 would be another cell today."""
        cell = freeze(self.plain)
        if cell.hash != self.entry["default"]:
            other = cell.as_dict()["data"] != self.file.data["where"]["data"]
            why = "on other data" if other else f"with another recipe or version of {self.plain.method}"
            again = command(self.plain, self.file.data["trials"])
            raise UserError(f"{self.file.path} was tuned {why} than this cell has; tune again: {again}")
        return {"tuned_file": {"name": self.file.path.name, "sha256": sha256(self.file.path)}}


def read_tuned(path: Path | str) -> TunedFile:
    """The file; UserError where there is none, CheckpointError where it is damaged, changed by hand or foreign."""
    path = Path(path)
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"there is no tuned file {path}; make one with: ltbench tune") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the tuned file {path} is damaged ({error}); {_AGAIN}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no file of ltbench tune (format {FORMAT}); make one with: ltbench tune")
    given = data.get("sha256")
    if set(data) != KEYS or given != digest({key: value for key, value in data.items() if key != "sha256"}):
        raise CheckpointError(f"the tuned file {path} is damaged or was changed by hand; {_AGAIN}")
    return TunedFile(path, data)


_AGAIN = "remove it and run ltbench tune again: finished trials are kept"


def write_tuned(path: Path, content: Mapping[str, Any]) -> None:
    """Write where, trials, seed, metric and methods; methods that the file already holds stay beside them."""
    import filelock

    import ltbench

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        before = read_tuned(path).data["methods"] if path.exists() else {}
        methods = dict(sorted({**before, **content["methods"]}.items()))
        data = {"format": FORMAT, "ltbench": ltbench.__version__, **content, "methods": methods}
        plain = json.loads(to_json(data))  # the values as they are read
        atomic_write(path, to_json({**plain, "sha256": digest(plain)}))
