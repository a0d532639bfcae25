"""Copy ragged rows (the atoms of chosen frames) out of flat arrays, one memcpy a frame instead of one index an atom."""

from __future__ import annotations

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
    ragged_take(sources, outs, frames.starts[order], values["natoms"].astype(np.int64))
    return Frames(**values | dict(zip(names, outs)))


def ragged_take(sources: Sequence[np.ndarray], outs: Sequence[np.ndarray], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """Copy rows `starts[i] : starts[i] + lengths[i]` of each source, one range after the other, into the matching `outs`.

    Sources are (N, ...); outs are C-contiguous, have sum(lengths) rows and the same type.
    """
    if csr_row_index is None or any(_word(source) is None for source in sources):
        _take_by_index(sources, outs, starts, lengths)
        return
    waiting: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for pair in zip(sources, outs):
        word = _word(pair[0])
        if word[0] == 1:
            _copy(word, None, pair, starts, lengths)
        elif word in waiting:  # two arrays of one shape travel in one pass
            _copy(word, waiting.pop(word), pair, starts, lengths)
        else:
            waiting[word] = pair
    for word, pair in waiting.items():
        _copy(word, None, pair, starts, lengths)


def _word(array: np.ndarray) -> tuple[int, int] | None:
    """Bytes of the word to copy in, and words a row; `None` if SciPy has no such word."""
    size = array.dtype.itemsize
    return (size, int(np.prod(array.shape[1:]))) if size in (1, 4, 8) and array.flags.c_contiguous else None


def _copy(word: tuple[int, int], first: tuple | None, second: tuple, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """Run SciPy's copy. Its "column indices" and its "values" are any words we like; it never looks at them."""
    size, words = word
    integer = np.dtype(np.int64 if size == 8 else np.int32)
    value = np.dtype(np.int8) if size == 1 else integer
    bounds = np.empty(2 * len(starts), integer)  # row 2i of this matrix is range i, row 2i + 1 is what lies between
    np.multiply(starts, words, out=bounds[0::2], casting="unsafe")
    np.multiply(starts + lengths, words, out=bounds[1::2], casting="unsafe")
    rows = np.arange(0, len(bounds), 2, dtype=integer)
    source, out = (array.reshape(-1).view(value) for array in second)
    if first is None:
        other, other_out = POOL.take(source.shape, integer), POOL.take(out.shape, integer)
    else:
        other, other_out = (array.reshape(-1).view(integer) for array in first)
    csr_row_index(len(rows), rows, bounds, other, source, other_out, out)


def _take_by_index(sources, outs, starts, lengths) -> None:
    """The plain way, in NumPy alone."""
    before = np.cumsum(lengths) - lengths
    rows = np.repeat(np.asarray(starts, np.int64) - before, lengths) + np.arange(int(np.sum(lengths)))
    for source, out in zip(sources, outs):
        np.take(source, rows, axis=0, out=out, mode="clip")
