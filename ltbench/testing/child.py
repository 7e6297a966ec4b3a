"""The other process of the classifier check, one for all classifiers: it knows what is in a folder and nothing else."""

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


def serve(folder: Path) -> None:
    """Build, start the last stage, load state.pt, predict: reads child.json in `folder`, writes probs.npy."""
    facts = json.loads((folder / "child.json").read_text())
    sys.path += [entry for entry in facts["path"] if entry not in sys.path]
    torch.set_num_threads(facts["threads"])
    module, _, name = facts["target"].partition(":")
    options = {key: value for key, value in facts["spec"].items() if key != "name"}
    classifier = getattr(importlib.import_module(module), name)(**options)
    context = tiny_context(folder / "child", classifier=classifier)
    classifier.setup(context)
    classifier.start_stage(classifier.stages(context.recipe["protocol"]["epochs"])[-1], context)
    classifier.load_state_dict(checkpoint.load(folder / "state.pt", "child"))
    np.save(folder / "probs.npy", Evaluator(classifier, context).predict(context.val.images, "val"))


def main() -> None:
    """Serve the folders named on standard input, a line each; answer with a line, empty where all went well."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            serve(Path(line.rstrip("\n")))
            answer = ""
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
