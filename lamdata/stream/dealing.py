"""Dealing: the frames of a batch to ranks, so that each has about as many atoms."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def deal(natoms: NDArray[np.integer], ends: Iterable[int], world: int) -> NDArray[np.int32]:
    """(F,) the rank of each frame, of batches that end at `ends`; -1 behind the last of them.

    In each batch the largest frame comes first, each goes to the rank that has the fewest atoms so far, the lower one of two (longest
    processing time first: Graham, SIAM J. Appl. Math. 17, 416 (1969)). So a batch of at least `world` frames leaves no rank without one.
    """
    ranks, first = np.full(len(natoms), -1, np.int32), 0
    for stop in ends:
        sizes = natoms[first:stop]
        order = np.argsort(-sizes.astype(np.int64), kind="stable")
        loads, chosen = [(0, rank) for rank in range(world)], []
        for size in sizes[order].tolist():
            load, rank = loads[0]
            heapq.heapreplace(loads, (load + size, rank))
            chosen.append(rank)
        ranks[first + order] = chosen
        first = stop
    return ranks
