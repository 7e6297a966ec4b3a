"""Suites: the rows of one published table, as plain data in a Python file."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltbench.errors import UserError
from ltbench.registry import nearest

FIELDS = ("title", "source", "protocol", "datasets", "seeds", "rows")
OPTIONAL = ("controls", "published", "stands_for", "absent")
PLAIN = (str, int, float, list, tuple, dict, set, type(None))
FOLDER = Path("benchmarks")


@dataclass(frozen=True)
class Suite:
    """rows: (name in the table, method id) in the table's order; seeds such as "0-2"; datasets: ids.

    controls: rows that the paper lacks and that a reader of its table needs. published: its paper and table in
    leaderboards/published/results.csv, such as "IOIS-MICCAI2024/Table1", or "". stands_for: a data set of ours -> the
    paper's that cannot be had. absent: data sets of the paper that cannot be had and have no stand-in.
    """

    name: str
    title: str
    source: str
    protocol: str
    datasets: tuple[str, ...]
    seeds: str
    rows: tuple[tuple[str, str], ...]
    controls: tuple[tuple[str, str], ...] = ()
    published: str = ""
    stands_for: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def only_controls(self) -> frozenset[str]:
        """The methods of controls that are in no row."""
        return frozenset(method for _, method in self.controls) - {method for _, method in self.rows}

    def split(self, known: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """Methods that exist, each once, and the rows whose method no plugin offers yet."""
        every = self.rows + self.controls
        methods = list(dict.fromkeys(method for _, method in every if method in known))
        return methods, [row for row in every if row[1] not in known]


def find(name: str) -> Path:
    """The file of a suite given as a path or as the name of a file in benchmarks/; UserError where there is none."""
    names = [path.stem for path in offered(FOLDER)]
    for path in (Path(name), FOLDER / f"{name}.py"):
        if path.is_file():
            return path
    here = f"suites in {FOLDER}/: {', '.join(names)}" if names else f"there is no folder {FOLDER}/ here"
    raise UserError(
        f"no suite file {name!r} ({here}).{nearest(name, names)} "
        "For single methods: ltbench sweep --methods M ... --dataset D"
    )


def offered(folder: Path) -> list[Path]:
    """The suite files in a folder, by name; [] where there is none."""
    return sorted(path for path in folder.glob("*.py") if "\nrows" in path.read_text(encoding="utf-8"))


def load(wanted: str) -> Suite:
    """Read a suite; UserError where a field is missing, unknown or of the wrong kind."""
    path = find(wanted)
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        raise UserError(f"suite {path} cannot be read: {type(error).__name__}: {error}") from error
    for variable, value in found.items():
        if variable not in FIELDS + OPTIONAL and not variable.startswith("_") and isinstance(value, PLAIN):
            raise UserError(
                f"suite {path} sets {variable}, which is no field.{nearest(variable, [*FIELDS, *OPTIONAL])} "
                f"A suite sets {', '.join(FIELDS)}, and may set {', '.join(OPTIONAL)}; the names of helpers begin with "
                "an underscore"
            )
    missing = [field for field in FIELDS if field not in found]
    if missing:
        raise UserError(f"suite {path} lacks {', '.join(missing)}; a suite sets {', '.join(FIELDS)}")
    datasets: Any = found["datasets"]
    if not isinstance(datasets, (list, tuple)) or not datasets or not all(isinstance(name, str) for name in datasets):
        raise UserError(
            f'suite {path}: datasets must be a list of ids, such as datasets = ["aptos"], got {datasets!r}'[:300]
        )
    for name, least in (("rows", 1), ("controls", 0)):
        rows: Any = found.get(name, ())
        pairs = isinstance(rows, (list, tuple)) and all(
            isinstance(row, tuple) and len(row) == 2 and all(isinstance(part, str) for part in row) for row in rows
        )
        if not pairs or len(rows) < least:
            raise UserError(
                f'suite {path}: {name} must be a list of ("name in the table", "method id"), got {rows!r}'[:300]
            )
    return Suite(
        name=path.stem,
        title=str(found["title"]),
        source=str(found["source"]),
        protocol=str(found["protocol"]),
        datasets=tuple(datasets),
        seeds=str(found["seeds"]),
        rows=tuple(found["rows"]),
        controls=tuple(found.get("controls", ())),
        published=str(found.get("published", "")),
        stands_for=_stands_for(path, found),
        absent=_absent(path, found),
    )


def _stands_for(path: Path, found: Mapping[str, Any]) -> dict[str, str]:
    pairs = found.get("stands_for", {})
    if not isinstance(pairs, dict) or not set(pairs) <= set(found["datasets"]):
        raise UserError(
            f'suite {path}: stands_for must be {{"data set of the suite": "the paper\'s"}}, got {pairs!r}'[:300]
        )
    return {str(ours): str(theirs) for ours, theirs in pairs.items()}


def _absent(path: Path, found: Mapping[str, Any]) -> tuple[str, ...]:
    names = found.get("absent", ())
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UserError(f"suite {path}: absent must be a list of the paper's data sets, got {names!r}"[:300])
    return tuple(names)
