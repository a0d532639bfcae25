"""Pool: large arrays that are used again once nobody looks at them, so that a stream does not fault in fresh pages for ever."""

from __future__ import annotations

import math
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

SMALLEST = 1 << 16  # bytes; malloc serves smaller arrays from memory it already has
KEPT = 64  # arrays of a size remembered at most; those in use beyond that are simply not used again
STEPS = 4  # sizes to each power of two


def _free(owners: Sequence[np.ndarray], references: int) -> np.ndarray | None:
    """The first array that is referred to so often, this look at it included."""
    for owner in owners:
        if sys.getrefcount(owner) == references:
            return owner
    return None


# How often an array is referred to that only a list holds: that depends on the version of Python.
_FREE = next(count for count in range(9) if _free([np.empty(1)], count) is not None)


class Pool:
    """Hands out uninitialised arrays.

    An array goes back by itself: every view of it, in NumPy, torch or a memoryview, holds a reference to the owner of the
    memory, and the owner is handed out again only when the pool's is the last one.
    """

    def __init__(self) -> None:
        self._owners: defaultdict[int, list[np.ndarray]] = defaultdict(list)  # size -> arrays of it
        self._lock = threading.Lock()

    def bytes(self, count: int) -> NDArray[np.uint8]:
        """Return `count` bytes whose content is arbitrary."""
        return self.take((count,), np.uint8)

    def take(self, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        """Return an array whose content is arbitrary."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < SMALLEST:
            return np.empty(shape, dtype)
        return self._owner(_rounded(size))[:size].view(dtype).reshape(shape)

    def _owner(self, size: int) -> np.ndarray:
        """A free owner of `size` bytes, or of up to twice as many, or a new one."""
        with self._lock:
            for larger in _sizes(size):
                owner = _free(self._owners[larger], _FREE) if larger in self._owners else None
                if owner is not None:
                    return owner[:]  # a view: holds the owner busy from here on
            owner = np.empty(size, np.uint8)
            self._owners[size].append(owner)
            del self._owners[size][:-KEPT]
            return owner[:]


def _sizes(size: int) -> Iterator[int]:
    """A size that `_rounded` gives, and those after it, up to its double."""
    yield size
    for _ in range(STEPS):
        size = _rounded(size + 1)
        yield size


def _rounded(size: int) -> int:
    """The next of `STEPS` sizes to each power of two: arrays that differ a little use the same memory."""
    step = 1 << max(0, size.bit_length() - STEPS.bit_length())
    return -(-size // step) * step


POOL = Pool()
