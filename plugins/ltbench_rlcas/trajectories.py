"""A picture of what the agents did in a finished cell.

python -m ltbench_rlcas.trajectories CELL_DIR [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ltbench import drawings
from ltbench.errors import LtbenchError, UserError

ACTIONS = ("fewer", "as many", "more")


def read(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines of the history that agents wrote, and the names of the classes; UserError where there are none."""
    history = folder / "history.jsonl"
    if not history.is_file():
        raise UserError(
            f"{folder} is no finished cell, history.jsonl is missing; name a folder that holds a result.json"
        )
    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if "sampler_probs" in line]
    if not lines:
        raise UserError(f"no agents acted in {folder}; the cell has to use --set sampler=rl-cas")
    return lines, json.loads((folder / "result.json").read_text(encoding="utf-8"))["data"]["class_names"]


def draw(folder: Path, path: Path) -> None:
    """Draw the state, the scores of the candidates and each agent's probabilities over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines, names = read(folder)
    epochs = np.arange(1, len(lines) + 1)
    state, probs = (np.array([line[f"sampler_{key}"] for line in lines]) for key in ("state", "probs"))
    figure = Figure(figsize=(9, 4.5 + 0.28 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=[4, 0.5 + 0.28 * len(names)])
    left, right = figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2])
    place: Any = {"extent": (0.5, len(lines) + 0.5, len(names) - 0.5, -0.5), "interpolation": "none"}
    counts = left.imshow(state.T, aspect="auto", vmin=0, **place)
    left.set(xlabel="epoch", title="synthetic images a batch", yticks=range(len(names)))
    left.set_yticklabels(names, fontsize=6)
    figure.colorbar(counts, ax=left)
    for line, epoch in zip(lines, epochs, strict=True):
        scores = np.array(line.get("candidate_scores", [line["val_score"]]), dtype=float)
        right.plot(np.full(len(scores), epoch), scores, ".", color="0.6", markersize=4)
    right.plot(epochs, [line["val_score"] for line in lines], color="C3", linewidth=1, label="kept")
    right.set(xlabel="epoch", ylabel="validation score")
    right.legend(fontsize=6)
    for a, action in enumerate(ACTIONS):
        axis = figure.add_subplot(grid[1, a])
        shown = axis.imshow(probs[:, :, a].T, aspect="auto", vmin=0, vmax=2 / 3, cmap="RdBu", **place)
        axis.set(title=f"p({action})", xlabel="epoch", yticks=range(len(names)) if a == 0 else [])
        if a == 0:
            axis.set_yticklabels(names, fontsize=6)
    figure.colorbar(shown, ax=figure.axes[-1])
    drawings.save(figure, path)


def main(argv: list[str] | None = None) -> int:
    """Draw one cell and print where the picture is; 2 for a cell that cannot be drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", type=Path)
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: CELL_DIR/trajectories.png")
    args = parser.parse_args(argv)
    path = args.out or args.cell / "trajectories.png"
    try:
        drawings.check(path)
        draw(args.cell, path)
    except (LtbenchError, OSError) as error:
        print(f"trajectories: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
