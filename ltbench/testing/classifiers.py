"""Conformance of classifiers."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltbench
from ltbench.engine import checkpoint
from ltbench.engine.guide import frozen
from ltbench.engine.run import Run
from ltbench.errors import CannotGuide
from ltbench.interfaces import Classifier
from ltbench.registry import Component
from ltbench.testing.tiny import tiny_options, tiny_run
from ltbench.testing.tools import check_version, require

SLOTS = frozenset({"loss"})


class _Stopped(Exception):
    pass


def check_classifier(component: Component, folder: Path) -> Iterator[str]:
    """Training in the engine, predictions, random streams, resume, a fresh process, guidance."""
    yield check_version(component)
    spec = tiny_options("classifier", component.id)
    built = ltbench.build("classifier", spec)
    require(isinstance(built, Classifier), f"{component.target} must give a ltbench.interfaces.Classifier")
    require(frozenset(built.slots) <= SLOTS, f"slots must be within {set(SLOTS)}, got {set(built.slots)}")
    require(len(built.views) > 0, "views must name at least one augmentation")
    stages = built.stages(2)
    require(sum(stage.epochs for stage in stages) > 0, f"stages(2) plans no epoch: {stages}")
    yield "options, slots, views and stages"
    run, probs = tiny_run(folder / "a", classifier=spec)
    yield f"trains {len(run.history)} epochs; probabilities are float32 and sum to 1"
    one = run.evaluator.predict(run.context.val.images[:1], "test")
    yield f"a batch of one gives shape {one.shape}"
    _, again = tiny_run(folder / "b", classifier=spec)
    require(np.array_equal(probs, again), f"the same seed differs by {np.abs(probs - again).max():.3g}")
    _, other = tiny_run(folder / "c", classifier=spec, seed=1)
    require(not np.array_equal(probs, other), "another seed gives the same predictions; use context.rng")
    yield "the same seed gives the same predictions, another seed others"
    _resume(spec, folder / "d", probs, len(run.history))
    yield "stopped after every epoch and resumed: the same predictions"
    away = _elsewhere(component, spec, run, folder)
    require(float(np.abs(probs - away).max()) <= 1e-6, f"a new process differs by {np.abs(probs - away).max():.3g}")
    yield "its state loaded in a new process: the same predictions"
    yield _guides(run, probs)
    tiny_run(folder / "e", classifier=spec, num_classes=2, channels=1)
    yield "2 classes of grey images work"


def _resume(spec: dict[str, Any], folder: Path, whole: np.ndarray, epochs: int) -> None:
    """Stop after every epoch, also between two stages, and go on from the checkpoint."""
    for _ in range(epochs - 1):
        seen: list[int] = []

        def stop(epoch: int, line: dict[str, Any], seen: list[int] = seen) -> None:
            seen.append(epoch)
            if len(seen) == 2:  # the epoch before is in the checkpoint
                raise _Stopped

        with contextlib.suppress(_Stopped):
            tiny_run(folder, stop, classifier=spec)
    run, probs = tiny_run(folder, classifier=spec)
    require(len(run.history) == epochs, f"{len(run.history)} epochs after a resume, expected {epochs}")
    gap = float(np.abs(probs - whole).max())
    require(gap <= 1e-5, f"a resumed run differs by {gap:.3g}; state_dict must hold everything that training changes")


def _elsewhere(component: Component, spec: dict[str, Any], run: Run, folder: Path) -> np.ndarray:
    """Validation probabilities from a process that knows the state alone."""
    checkpoint.save(folder / "state.pt", "child", run.classifier.state_dict())
    path = [entry for entry in sys.path if entry]
    facts = {"target": component.target, "spec": spec, "threads": torch.get_num_threads(), "path": path}
    (folder / "child.json").write_text(json.dumps(facts))
    answer = _ask_child(folder)
    require(not answer, f"its state cannot be loaded in a new process: {answer}")
    return np.load(folder / "probs.npy")


def _ask_child(folder: Path) -> str:
    """What the other process answers; it is started once, importing torch takes longer than a check."""
    child = _child()
    if child.poll() is not None:
        _child.cache_clear()
        child = _child()
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(f"{folder.resolve()}\n")
    child.stdin.flush()
    answer = child.stdout.readline()
    return answer.strip() if answer else f"it ended with status {child.wait()}"


@functools.cache
def _child() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "ltbench.testing.child"]
    child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(child.kill)
    return child


def _guides(run: Run, probs: np.ndarray) -> str:
    images = run.context.val.images[:4]
    x = (torch.tensor(images).permute(0, 3, 1, 2).float() / 255).requires_grad_()
    try:
        with frozen(run.classifier):
            logits = run.classifier.logits(x)
            (gradient,) = torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), x)
    except CannotGuide:
        return "no differentiable logits: cannot guide a generator (allowed)"
    require(bool(torch.isfinite(gradient).all()), "the gradient of the logits is not finite")
    gap = float(np.abs(torch.softmax(logits, 1).detach().numpy() - probs[:4]).max())
    require(gap <= 1e-4, f"softmax(logits(x)) differs from predict by {gap:.3g}")
    return "logits: differentiable, softmax equals predict"
