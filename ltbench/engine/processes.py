"""Several processes that fit one generator together, started by torchrun or `accelerate launch`."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from ltbench.errors import UserError

PATIENCE = timedelta(days=7)  # the first process may wait for a fit that another run works on


def join(device: str = "auto") -> None:
    """Meet the other processes that the launcher started; nothing where there is only this one.

    UserError where they are more than the devices ("cpu": any number).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    place, devices = int(os.environ.get("LOCAL_RANK", "0")), 0 if device == "cpu" else torch.cuda.device_count()
    if 0 < devices <= place:
        raise UserError(
            f"process {place} has no device of its own, there are {devices}; start {devices} processes, "
            "or use --device cpu"
        )
    if devices:
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if devices else "gloo", timeout=PATIENCE)


def leave() -> None:
    """Part from the others."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 alone or as the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def told(value: Any) -> Any:
    """Process 0's value, on all processes."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def wait() -> None:
    """Until every process has come here."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
