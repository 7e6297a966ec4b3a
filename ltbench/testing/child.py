"""The fresh process of the classifier check: build, start the last stage, load the state, predict."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from ltbench.engine import checkpoint
from ltbench.engine.evaluate import Evaluator
from ltbench.testing.tiny import tiny_context


def main(folder: Path) -> None:
    """Read child.json and state.pt in `folder`, write probs.npy."""
    facts = json.loads((folder / "child.json").read_text())
    torch.set_num_threads(facts["threads"])
    module, _, name = facts["target"].partition(":")
    options = {key: value for key, value in facts["spec"].items() if key != "name"}
    classifier = getattr(importlib.import_module(module), name)(**options)
    context = tiny_context(folder / "child", classifier=classifier)
    classifier.setup(context)
    classifier.start_stage(classifier.stages(context.recipe["protocol"]["epochs"])[-1], context)
    classifier.load_state_dict(checkpoint.load(folder / "state.pt", "child"))
    np.save(folder / "probs.npy", Evaluator(classifier, context).predict(context.val.images, "val"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
