"""Adversarial training without labels, before that with labels: one cached phase on a pool of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ltbench.errors import NonFinite, UserError
from ltbench.interfaces import Context, ImagePool
from ltbench.options import number

EXAMPLE = """--set generator.pretrain='["in-domain"]'"""


def check(values: Mapping[str, Any]) -> None:
    """Raise UserError for sources that are no list of names, and for a length out of range or of nothing."""
    sources, kimg = values["pretrain"], values["pretrain_kimg"]
    named = isinstance(sources, (list, tuple)) and sources and all(isinstance(source, str) for source in sources)
    if sources is not None and not named:
        raise UserError(
            f"generator.pretrain must be none or a list of sources of images without labels, got {sources!r}; "
            f"for example {EXAMPLE}"
        )
    if kimg is not None:
        number("generator.pretrain_kimg", kimg, ends="()")
    if kimg is not None and sources is None:
        raise UserError(f"generator.pretrain_kimg must be none without a pre-training, got {kimg}; {EXAMPLE}")


def pretrained(
    training: Any,
    pool: ImagePool,
    real: Callable[[Tensor], Tensor],
    context: Context,
    *,
    kimg: float,
    batch: int,
    key: Mapping[str, Any],
) -> Any:
    """The training after kimg thousand images of a pool, every label -1; key: on what it depends beside the pool.

    real: rows (B,) of the pool -> images (B, c, size, size) in [-1, 1] on the device. NonFinite where it breaks off.
    """
    total, without = max(1, -(-round(kimg * 1000) // batch)), torch.full((batch,), -1, device=context.device)
    for i in context.steps("pretraining", total, training, options=dict(key), data=pool.content):
        if not training.stopped:
            rows = torch.randint(0, len(pool), (batch,))
            training.step(i, real(rows), without, lambda n: without[:n], context.autocast)
    if training.stopped:
        raise NonFinite(
            f"pre-training broke off: {training.stopped}; shorten it, for example --set "
            f"generator.pretrain_kimg={kimg / 2:g}"
        )
    return training
