"""A finished cell brought back to life: its data, its context and its selected classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ltbench
from ltbench.errors import CheckpointError, UserError
from ltbench.launch.local import Report, load_data, say
from ltbench.recipe import DATASET_AXES
from ltbench.results.record import read_result


def reopen(folder: Path, data_root: Any = None, device: str = "auto", report: Report = say) -> tuple[Any, Any]:
    """The context and the classifier of a cell that was run with --keep-model.

    UserError where it kept no weights, CheckpointError where the data are not those that it was trained on.
    """
    from ltbench.data.roots import cache_root
    from ltbench.engine import checkpoint
    from ltbench.engine.context import CellContext
    from ltbench.engine.device import DevicePolicy
    from ltbench.engine.fits import FitCache
    from ltbench.engine.streams import seed_global

    weights = Path(folder, "best.pt")
    cell = read_result(folder).cell
    if not weights.is_file():
        raise UserError(f"{folder} keeps no weights (best.pt); run the cell again with --force --keep-model")
    recipe = cell["recipe"]
    options = {key: value for key, value in recipe["dataset"].items() if key not in DATASET_AXES}
    data = load_data(ltbench.build("dataset", options), recipe, data_root)
    if data.content != cell["data"]:
        raise CheckpointError(f"{folder} was trained on other data than {recipe['dataset']['name']} holds now")
    policy = DevicePolicy.choose(device, recipe["protocol"]["precision"], recipe["protocol"]["image_size"])
    context = CellContext(
        recipe=recipe,
        versions=cell["versions"],
        data=data,
        policy=policy,
        cache=FitCache(cache_root(), policy.device, report),
        workdir=Path(folder),
        report=report,
    )
    seed_global(context.seed, "setup")
    classifier = context.component("classifier")
    classifier.setup(context)
    classifier.load_state_dict(checkpoint.load(weights, cell["hash"], policy.device)["classifier"])
    return context, classifier
