"""Writing the site: templates filled with escaped values, two scripts and a style sheet beside them."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ltbench.errors import UserError
from ltbench.report.boards import QUALITY, Board, boards, rankings
from ltbench.report.collect import Entry, Skipped, collect
from ltbench.report.comparing import compare_data
from ltbench.report.pages import baselines, cell_page
from ltbench.report.plots import critical_difference, pareto
from ltbench.results.files import to_json
from ltbench.results.store import counted

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
MANIFEST = "ltbench-report.json"
UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&'\u2028\u2029"}


@dataclass(frozen=True)
class Built:
    """What was written: the site's folder, its cells, its leaderboards, and what was left out."""

    folder: Path
    cells: int
    boards: int
    skipped: Sequence[Skipped]

    @property
    def index(self) -> Path:
        """The page to open first."""
        return self.folder / "index.html"


def build_report(roots: Sequence[Path | str], out: Path | str) -> Built:
    """Write the site of all finished cells at or below `roots` into `out`, in the place of an earlier report there.

    Broken, unfinished, duplicate and newer records are listed in the site and in the answer, never fatal. Raises
    UserError for a root that is no folder, for roots without a finished cell, and for an `out` that holds other files.
    """
    folders, out = [Path(root) for root in roots], Path(out)
    for root in folders:
        if not root.is_dir():
            what = "is a file" if root.exists() else "is missing"
            raise UserError(f"the results folder {root} {what}; name the folder of your runs")
    before = _checked(out)
    entries, skipped = collect(folders)
    if not entries:
        why = "".join(f"\n  {s.reason}" for s in skipped[:10])
        raise UserError(f"no finished cell below {', '.join(map(str, folders))}; see: ltbench status{why}")
    found = boards(entries)
    files = _pages(entries, found, skipped)
    pictures = {e.page.removesuffix(".html") + ".png": e.result.folder / "samples.png" for e in entries}
    pictures = {name: path for name, path in pictures.items() if path.is_file()}
    _write(out, before, files, pictures)
    return Built(out, len(entries), len(found), skipped)


def _pages(entries: Sequence[Entry], found: Sequence[Board], skipped: Sequence[Skipped]) -> dict[str, str]:
    """Every page by its path below the site; the index last."""
    templates = _templates()
    cells, compare, plots, index = (
        templates.get_template(f"{name}.html") for name in ("cells", "compare", "plots", "index")
    )
    one = templates.get_template("cell.html")
    board_of = {e.key: b for b in found for row in b.lines for e in row.entries}
    ce = baselines(entries)
    siblings = defaultdict(list)
    for entry in entries:
        siblings[entry.key, entry.row["method"]].append(entry)
    files = {}
    for entry in entries:
        page = cell_page(entry, ce.get((entry.key, entry.row["seed"])), siblings[entry.key, entry.row["method"]])
        files[entry.page] = one.render(root="../", page=page, row=entry.row, board=board_of[entry.key])
    ranked = [(name, titles, ranks, critical_difference(ranks, f"average ranks under protocol {name}"))
              for name, titles, ranks in rankings(entries)]  # fmt: skip
    fronts = [(b, pareto(b.points, "Macro-F1, percent", f"{QUALITY} against device-seconds: {b.title}")) for b in found]
    total = {"cells": len(entries), "boards": found, "skipped": skipped}
    files["cells.html"] = cells.render(root="", entries=entries, **total)
    files["compare.html"] = compare.render(root="", data=embedded(compare_data(found)), **total)
    files["plots.html"] = plots.render(root="", ranked=ranked, fronts=fronts, **total)
    files["index.html"] = index.render(root="", summary=_summary(entries, found), **total)
    return files


def _summary(entries: Sequence[Entry], found: Sequence[Board]) -> str:
    methods = len({e.row["method"] for e in entries})
    datasets = len({e.row["dataset"] for e in entries})
    return (
        f"{counted(len(entries), 'cell')}, {counted(methods, 'method')}, {counted(datasets, 'data set')}, "
        f"{counted(len(found), 'leaderboard')}"
    )


def embedded(data: Any) -> Markup:
    """JSON that cannot leave its script element."""
    return Markup(json.dumps(json.loads(to_json(data)), separators=(",", ":")).translate(UNSAFE))


def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = lambda v, sign="": "n/a" if v != v else f"{v:{sign}.2f}"
    return environment


def _checked(out: Path) -> list[str]:
    """The files of an earlier report in `out`."""
    if not out.exists():
        return []
    manifest = out / MANIFEST
    try:
        before = json.loads(manifest.read_text())["files"]
        return [
            name for name in before if isinstance(name, str) and (out / name).resolve().is_relative_to(out.resolve())
        ]
    except NotADirectoryError:
        raise UserError(f"{out} is a file; name a new or empty folder with --out") from None
    except (OSError, ValueError, KeyError, TypeError):
        if any(out.iterdir()):
            raise UserError(f"{out} holds files that are no report; name a new or empty folder with --out") from None
        return []


def _write(out: Path, before: Sequence[str], files: dict[str, str], pictures: dict[str, Path]) -> None:
    """The manifest first, so that a report whose writing was cut short can be written again; the index last."""
    assets = {f"assets/{path.name}": path for path in sorted((HERE / "assets").iterdir()) if path.is_file()}
    (out / "cells").mkdir(parents=True, exist_ok=True)
    (out / "assets").mkdir(exist_ok=True)
    written = [*assets, *pictures, *files]
    (out / MANIFEST).write_text(to_json({"files": sorted({*before, *written})}))
    for name in set(before) - set(written):
        (out / name).unlink(missing_ok=True)
    for name, path in (assets | pictures).items():
        shutil.copyfile(path, out / name)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
    (out / MANIFEST).write_text(to_json({"files": sorted(written)}))
