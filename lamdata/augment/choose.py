"""A fraction or a number of atoms -> which atoms of each frame, drawn without replacement for all frames at once.

F = frames, A = all their atoms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..counter import U32, Purpose, below, draw
from .ragged import ranks

_FEW_FRAMES = 24  # a NumPy pass over fewer frames than this is slower than a loop in Python


def wanted(natoms: NDArray[np.integer], *, probability: float | None, number: int | None) -> NDArray[np.int64]:
    """Return (F,) how many atoms to choose: max(1, int(probability N)), or min(number, N)."""
    if number is not None:
        return np.minimum(natoms.astype(np.int64), np.int64(number))
    assert probability is not None, "the specs check that one of the two is given"
    return np.maximum(np.int64(1), (probability * natoms.astype(np.float64)).astype(np.int64))


def choose(natoms: NDArray[np.integer], count: NDArray[np.int64], *, keys: U32, purpose: Purpose) -> NDArray[np.bool_]:
    """Choose `count[f]` of the `natoms[f]` atoms of each frame, every subset alike; return (A,) flags.

    R. W. Floyd's algorithm (Bentley and Floyd, CACM 30, 754, 1987): one draw for an atom that is chosen, none for the others.
    """
    natoms = natoms.astype(np.int64)
    inverted = 2 * count > natoms  # choose the fewer: those that stay out
    few = np.where(inverted, natoms - count, count)
    order = np.argsort(-few, kind="stable")  # so that the frames still at work are a prefix
    natoms_s, few_s = natoms[order], few[order]
    first_s = (np.cumsum(natoms) - natoms)[order]
    rank = ranks(few_s)
    top = np.repeat(natoms_s - few_s, few_s) + rank  # draw `rank` is among atoms 0 .. top
    pick = below(_words(few_s, keys=keys.take(order, axis=1), purpose=purpose), top + 1)
    base = np.repeat(first_s, few_s)
    pick += base
    top += base
    chosen = np.zeros(int(natoms.sum()), bool)
    _mark(chosen, pick=pick, top=top, few=few_s)
    if inverted.any():
        chosen ^= np.repeat(inverted, natoms)
    return chosen


def _words(counts: NDArray[np.int64], *, keys: U32, purpose: Purpose) -> U32:
    """Return `counts[f]` random words for each frame, four from a counter."""
    counters = -(-counts // 4)
    words = draw(np.repeat(keys, counters, axis=1), purpose=purpose, position=ranks(counters)).T.reshape(-1)
    first = 4 * (np.cumsum(counters) - counters)
    return words[np.repeat(first, counts) + ranks(counts)]


def _mark(chosen: NDArray[np.bool_], *, pick: NDArray[np.int64], top: NDArray[np.int64], few: NDArray[np.int64]) -> None:
    """Set the flag of each pick, or of the last atom it could have been where the pick is taken; draws of a frame in turn."""
    first = np.cumsum(few) - few
    rank, busy = 0, int(np.count_nonzero(few))
    while busy >= _FEW_FRAMES:
        at = first[:busy] + rank
        atom = pick[at]
        chosen[np.where(chosen[atom], top[at], atom)] = True
        rank += 1
        busy = int(np.searchsorted(-few, -rank))
    for frame in range(busy):
        stop = first[frame] + few[frame]
        for atom, last in zip(pick[first[frame] + rank : stop].tolist(), top[first[frame] + rank : stop].tolist()):
            chosen[last if chosen[atom] else atom] = True
