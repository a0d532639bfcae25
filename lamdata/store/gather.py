"""Copy ragged rows (the atoms of chosen frames) out of flat arrays, one memcpy a frame instead of one index an atom."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..frames import ATOM_FIELDS, FRAME_FIELDS, Frames
from ..places.pool import POOL

try:  # SciPy's row selection of CSR matrices is a compiled ragged copy of two arrays at once, and lets other threads run
    from scipy.sparse._sparsetools import csr_row_index
except ImportError:  # it is not SciPy's public interface, and so may go
    csr_row_index = None


def reorder(frames: Frames, order: NDArray[np.integer]) -> Frames:
    """Frames in the given order, copied: `Frames.take`, several times faster."""
    values: dict[str, np.ndarray | None] = {name: np.take(getattr(frames, name), order, axis=0) for name in FRAME_FIELDS}
    values |= dict.fromkeys(ATOM_FIELDS)
    names = [name for name in ATOM_FIELDS if getattr(frames, name) is not None]
    sources = [getattr(frames, name) for name in names]
    total = int(values["natoms"].sum())
    outs = [POOL.take((total, *source.shape[1:]), source.dtype) for source in sources]
    Ranges(frames.starts[order], values["natoms"].astype(np.int64)).copy(sources, outs)
    return Frames(**values | dict(zip(names, outs)))


class Ranges:
    """The ranges of rows `starts[i] : starts[i] + lengths[i]` of flat arrays, to be copied one after the other."""

    def __init__(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]):
        self.starts, self.lengths = starts, lengths
        self._bounds: dict[tuple[int, np.dtype], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.starts)

    def copy(self, sources: Sequence[np.ndarray], outs: Sequence[np.ndarray], first: int = 0, last: int | None = None) -> None:
        """Copy ranges `first:last` of each source into the matching `outs`.

        Sources are (N, ...); outs are C-contiguous, have as many rows as these ranges and the same type.
        """
        last = len(self) if last is None else last
        if csr_row_index is None or any(_word(source) is None for source in sources):
            return self._copy_by_index(sources, outs, slice(first, last))
        waiting: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for pair in zip(sources, outs):
            word = _word(pair[0])
            if word[0] == 1:
                self._copy(word, None, pair, first, last)
            elif word in waiting:  # two arrays of one shape travel in one pass
                self._copy(word, waiting.pop(word), pair, first, last)
            else:
                waiting[word] = pair
        for word, pair in waiting.items():
            self._copy(word, None, pair, first, last)

    def _copy(self, word: tuple[int, int], one: tuple | None, two: tuple, first: int, last: int) -> None:
        """Run SciPy's copy. Its "column indices" and its "values" are any words we like; it never looks at them."""
        size, words = word
        integer = _I8 if size == 8 else _I4
        value = np.int8 if size == 1 else integer
        source, out = (array.reshape(-1).view(value) for array in two)
        if one is None:
            other, other_out = POOL.take(source.shape, integer), POOL.take(out.shape, integer)
        else:
            other, other_out = (array.reshape(-1).view(integer) for array in one)
        rows = np.arange(2 * first, 2 * last, 2, dtype=integer)
        csr_row_index(last - first, rows, self._bounds_of(words, integer), other, source, other_out, out)

    def _bounds_of(self, words: int, integer: np.dtype) -> np.ndarray:
        """Row 2i of the matrix that these bound is range i, row 2i + 1 is what lies between."""
        if (words, integer) not in self._bounds:
            bounds = np.empty(2 * len(self), integer)
            np.multiply(self.starts, words, out=bounds[0::2], casting="unsafe")
            np.multiply(self.starts + self.lengths, words, out=bounds[1::2], casting="unsafe")
            self._bounds[words, integer] = bounds
        return self._bounds[words, integer]

    def _copy_by_index(self, sources: Sequence[np.ndarray], outs: Sequence[np.ndarray], part: slice) -> None:
        """The plain way, in NumPy alone."""
        starts, lengths = self.starts[part], self.lengths[part]
        before = np.cumsum(lengths) - lengths
        rows = np.repeat(starts - before, lengths) + np.arange(int(np.sum(lengths)))
        for source, out in zip(sources, outs):
            np.take(source, rows, axis=0, out=out, mode="clip")


_I4, _I8 = np.dtype(np.int32), np.dtype(np.int64)


def _word(array: np.ndarray) -> tuple[int, int] | None:
    """Bytes of the word to copy in, and words a row; `None` if SciPy has no such word."""
    size = array.dtype.itemsize
    return (size, math.prod(array.shape[1:])) if size in (1, 4, 8) and array.flags.c_contiguous else None
