"""From unconditional networks to class-conditional ones, and layers that stay as they were."""

from __future__ import annotations

import math

import torch
from torch import nn

from ltbench_stylegan2.discriminator import Discriminator

LABEL_START = 0.1  # of the usual initialisation: the share of the label in the first mapping layer at the start
FIRST = "mapping.layers.0.weight"


@torch.no_grad()
def transfer(target: nn.Module, source: nn.Module) -> list[str]:
    """Copy into the target, in place, what agrees in name and shape; the names of what does not.

    The first mapping layer takes z alone in the source, z and the label in the target: its columns for z are copied at
    the weight that they have at run time, those of the label start small.
    """
    given, left = source.state_dict(), []
    for name, value in target.state_dict().items():
        found = given.get(name)
        if found is not None and found.shape == value.shape:
            value.copy_(found)
        elif found is not None and name == FIRST:
            z = found.shape[1]
            value[:, :z] = found * math.sqrt(value.shape[1] / z)  # run-time scale 1 / sqrt(inputs)
            value[:, z:] *= LABEL_START
        else:
            left.append(name)
    return left


def trunk(d: Discriminator) -> list[nn.Module]:
    """The layers of a discriminator from the image on, without those at 4 px; Mo et al. 2020, Freeze-D."""
    blocks = [part for block in d.blocks for part in block.children()]
    return [d.from_image, *blocks]
