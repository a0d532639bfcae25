"""Arithmetic on flat arrays of groups of different sizes: the atoms of frames, the draws of frames, the pairs of atoms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 13  # vectors at a time, so that the temporaries stay in the cache


def ranks(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return 0 .. counts[0] - 1, 0 .. counts[1] - 1, ... in one array."""
    ends = np.cumsum(counts)
    inside: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return inside


def chunks(counts: NDArray[np.integer], *, size: int) -> Iterator[slice]:
    """Yield slices of groups whose counts add up to at most `size`, or of one group that is larger."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + size, side="right")))
        yield slice(start, stop)
        start = stop


def products(
    matrices: NDArray[np.floating], vectors: NDArray[np.floating], *, counts: NDArray[np.integer]
) -> Iterator[tuple[slice, int, NDArray[np.float64]]]:
    """Yield component `axis` of matrices[f] @ v, in float64, for a slice of `vectors` (A, 3) at a time.

    `counts` (F,) says how many vectors each of the `matrices` (F, 3, 3) has. The sums are written out, so that no library
    chooses their order and the bits of a vector do not depend on its neighbours.
    """
    ends = np.cumsum(counts)
    for part in chunks(counts, size=_BLOCK):
        where = slice(int(ends[part.start] - counts[part.start]), int(ends[part.stop - 1]))
        xyz = np.ascontiguousarray(vectors[where].T, np.float64)
        for axis in range(3):
            x, y, z = (along * np.repeat(column, counts[part]) for along, column in zip(xyz, matrices[part, axis].T))
            x += y
            x += z
            yield where, axis, x
