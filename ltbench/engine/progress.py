"""Where a run stands, on disk: checkpoint.pt after every epoch, best.pt at every better one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltbench.engine import checkpoint
from ltbench.engine.pool import Pool
from ltbench.interfaces import Sampler

if TYPE_CHECKING:
    from ltbench.engine.run import Run


def load(run: Run) -> dict[str, Any] | None:
    """The checkpoint of this cell, or None."""
    path = run.context.workdir / "checkpoint.pt"
    return checkpoint.load(path, run.owner, run.context.device) if path.exists() else None


def save(run: Run, stage: int, epoch: int, sampler: Sampler) -> None:
    """Everything the next epoch depends on; `stage` and `epoch` are the next to train."""
    state = {"stage": stage, "epoch": epoch, "classifier": run.classifier.state_dict(), "selected": run.selected}
    state |= {"sampler": run.sampler.state_dict(), "stage_sampler": sampler.state_dict(), "history": run.history}
    state |= {"pool": run.synthesis.pool.state(), "feedback": run.feedback}
    state |= {"cost": run.context.cost.phases, "fits": run.context.fits}
    checkpoint.save(run.context.workdir / "checkpoint.pt", run.owner, state)


def restore(run: Run, saved: dict[str, Any], sampler: Sampler) -> None:
    """Put a checkpoint back into the run."""
    run.classifier.load_state_dict(saved["classifier"])
    run.sampler.load_state_dict(saved["sampler"])
    if saved["epoch"] > 0:
        sampler.load_state_dict(saved["stage_sampler"])
    run.selected, run.feedback, run.history = saved["selected"], saved["feedback"], saved["history"]
    run.synthesis.pool = Pool(**saved["pool"])
    run.store.set_pool(run.synthesis.pool)
    run.context.cost.phases = saved["cost"]
    run.context.fits.update(saved["fits"])


def save_best(run: Run) -> None:
    """The classifier and the pool of the best epoch so far."""
    best = {"classifier": run.classifier.state_dict(), "pool": run.synthesis.pool.state()}
    checkpoint.save(run.context.workdir / "best.pt", run.owner, best)


def load_best(run: Run) -> Pool:
    """Load the best epoch's classifier; returns its pool."""
    best = checkpoint.load(run.context.workdir / "best.pt", run.owner, run.context.device)
    run.classifier.load_state_dict(best["classifier"])
    return Pool(**best["pool"])
