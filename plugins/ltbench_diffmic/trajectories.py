"""The denoised label vectors of a finished diffmic cell over its steps, as t-SNE maps (the paper's figure 3).

python -m ltbench_diffmic.trajectories CELL_DIR [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import ltbench
from ltbench import drawings
from ltbench.errors import LtbenchError, UserError
from ltbench.results import read_result
from ltbench_diffmic.diffmic import DiffMIC

PANELS, MOST = 6, 500  # steps shown, images shown


def states_of(folder: Path, data_root: str | None = None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """States (N + 1, n, C) of one chain for each validation image, labels (n,), class names; UserError without one."""
    recipe = read_result(folder).cell.get("recipe", {})
    if (recipe.get("classifier") or {}).get("name") != "diffmic":
        raise UserError(f"{folder} holds no chain of diffmic; name a cell of diffmic, -c1 or -c2")
    context, classifier = ltbench.reopen(folder, data_root)
    if not isinstance(classifier, DiffMIC) or not classifier.diffusion:
        raise UserError(f"{folder} holds no chain of diffmic; name a cell of diffmic, -c1 or -c2")
    rows = context.rng("trajectories").permutation(len(context.val))[:MOST]
    context.at("predict:val", 0)
    _, states = classifier.denoised(context.val.images[np.sort(rows)], context)
    assert states is not None
    return states[:, :, 0].cpu().numpy(), context.val.labels[np.sort(rows)], context.task.class_names


def draw(states: np.ndarray, labels: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    """One t-SNE map a shown step, coloured by true class; steps are counted from the start of the chain.

    UserError for fewer than two images.
    """
    if len(labels) < 2:
        raise UserError(f"a map needs at least 2 validation images, this cell has {len(labels)}; use more data")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from sklearn.manifold import TSNE

    shown = np.unique(np.linspace(0, len(states) - 1, PANELS).round().astype(int))
    figure, panels = pyplot.subplots(1, len(shown), figsize=(3 * len(shown), 3.4), layout="constrained")
    for panel, step in zip(np.atleast_1d(panels), shown, strict=True):
        neighbours = min(30.0, (len(labels) - 1) / 3)
        places = TSNE(perplexity=neighbours, init="pca", random_state=0).fit_transform(states[step])
        for k, name in enumerate(names):
            mine = labels == k
            panel.scatter(*places[mine].T, s=6, label=name, color=pyplot.get_cmap("tab10")(k % 10))
        panel.set(title=f"step {step} of {len(states) - 1}", xticks=[], yticks=[])
    handles, texts = np.atleast_1d(panels)[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=min(len(names), 8), markerscale=2, frameon=False)
    drawings.save(figure, path)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Draw the map of one cell and print where the picture is; 2 for a cell that cannot be drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", type=Path)
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: CELL_DIR/trajectories.png")
    parser.add_argument("--data-root")
    args = parser.parse_args(argv)
    path = args.out or args.cell / "trajectories.png"
    try:
        drawings.check(path)
        draw(*states_of(args.cell, args.data_root), path)
    except (LtbenchError, OSError) as error:
        print(f"trajectories: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
