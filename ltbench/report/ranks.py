"""Average ranks of methods across data sets, in the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltbench.metrics import average_ranks


@dataclass(frozen=True)
class Ranks:
    """Methods by average rank, best (1) first.

    difference: two methods are told apart when their average ranks differ by it (level 0.05). cliques: (lowest,
    highest) average rank of each largest set of methods that are not told apart. p: of Friedman's test that all are
    alike.
    """

    methods: tuple[str, ...]
    average: tuple[float, ...]
    difference: float
    cliques: tuple[tuple[float, float], ...]
    p: float


def ranked(methods: Sequence[str], scores: np.ndarray) -> Ranks | None:
    """Ranks of scores (data sets, methods), higher is better.

    None for fewer than two data sets or three methods, where Friedman's test does not exist.
    """
    if len(scores) < 2 or len(methods) < 3:
        return None
    found = average_ranks(scores)
    average = found.ranks.tolist()
    order = sorted(range(len(methods)), key=lambda k: (average[k], methods[k]))
    cliques = tuple((average[clique[0]], average[clique[-1]]) for clique in found.cliques)
    names, ranks = tuple(methods[k] for k in order), tuple(average[k] for k in order)
    return Ranks(names, ranks, found.critical, cliques, found.friedman_p)
