"""Data-parallel training steps: every process draws the same global batch and works on its slice of it.

Without torch.distributed all of this is the identity. Random numbers are drawn for the global batch on every process,
so N processes with the same global batch do what one process does, up to the order of a sum.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch import distributed as dist

from ltbench.errors import UserError


def processes() -> int:
    """How many processes share the work; 1 outside torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(*tensors: Tensor) -> tuple[Tensor, ...]:
    """This process's slice of each tensor (B, ...), of one size on all processes; UserError where B is no multiple."""
    n = processes()
    if n == 1:
        return tensors
    if len(tensors[0]) % n:
        raise UserError(f"a batch of {len(tensors[0])} cannot be shared by {n} processes; use a multiple of {n}")
    part = len(tensors[0]) // n
    first = dist.get_rank() * part
    return tuple(t[first : first + part] for t in tensors)


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replace each tensor by its mean over the processes, in place; None is left out."""
    n = processes()
    if n == 1:
        return
    present = [t for t in tensors if t is not None]
    flat = torch.cat([t.detach().reshape(-1) for t in present])
    dist.all_reduce(flat)
    flat /= n
    first = 0
    for t in present:
        t.detach().copy_(flat[first : first + t.numel()].view_as(t))
        first += t.numel()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes."""
    average(p.grad for p in parameters)
