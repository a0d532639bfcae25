"""Pool: large arrays that are used again once nobody looks at them, so that a stream does not fault in fresh pages for ever."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

import numpy as np

SMALLEST = 1 << 16  # bytes; malloc serves smaller arrays from memory it already has
KEPT = 256  # arrays remembered at most; those in use beyond that are simply not used again


def _references(owners: Sequence[np.ndarray]) -> list[int]:
    """How often each is referred to, this look at it included."""
    return [sys.getrefcount(owner) for owner in owners]


_FREE = _references([np.empty(1)])[0]  # of an array that only a list holds: how many that is depends on the version of Python


class Pool:
    """Hands out uninitialised arrays.

    An array goes back by itself: every view of it, in NumPy, torch or a memoryview, holds a reference to the owner of the
    memory, and the owner is handed out again only when the pool's is the last one.
    """

    def __init__(self) -> None:
        self._owners: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: Sequence[int], dtype: np.dtype | str) -> np.ndarray:
        """Return an array whose content is arbitrary."""
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        size = count * dtype.itemsize
        if size < SMALLEST:
            return np.empty(shape, dtype)
        return self._owner(size)[:size].view(dtype).reshape(shape)

    def _owner(self, size: int) -> np.ndarray:
        """A free owner of at least `size` bytes and not twice as many, or a new one."""
        with self._lock:
            for i, count in enumerate(_references(self._owners)):
                if count == _FREE and size <= self._owners[i].nbytes <= 2 * size:
                    return self._owners[i][:]  # a view: holds the owner busy from here on
            owner = np.empty(size + size // 8, np.uint8)  # room for the next one, which is seldom exactly as long
            self._owners.append(owner)
            if len(self._owners) > KEPT:
                self._owners.pop(0)
            return owner[:]


POOL = Pool()
