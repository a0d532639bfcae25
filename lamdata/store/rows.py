"""Rows: copy ranges of rows (the atoms of chosen frames) from one array to another, one memcpy a frame instead of one index an atom.

`_rows.c` does it where it could be compiled at installation; NumPy, several times slower, does the same to the bit where it could not.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from .lattice import Lattice

compiled: ModuleType | None
try:
    from . import _rows as compiled
except ImportError:
    compiled = None

I64 = NDArray[np.int64]


def copy_rows(source: np.ndarray, begins: I64, lengths: I64, out: np.ndarray, targets: I64, lattice: Lattice | None = None) -> None:
    """Write rows `begins[i] : begins[i] + lengths[i]` of `source` into `out`, from row `targets[i]` on, for each i.

    Both have rows of the same shape, and `out` is C-contiguous. With a `lattice` the source holds what is stored of it, and `out` gets the
    float64 values. A range that reaches outside is an error (ValueError; IndexError from NumPy).
    """
    source = np.ascontiguousarray(source, out.dtype if lattice is None else None)
    if compiled is None:
        _copy_by_index(source, begins, lengths, out, targets, lattice)
        return
    columns, bounds = math.prod(source.shape[1:]), (begins, lengths, out, targets)
    if lattice is None:
        compiled.copy(source, *bounds, columns * source.itemsize)
    else:
        compiled.divide(source, *bounds, columns, source.itemsize, lattice.shift, lattice.scale, lattice.factor)


def _copy_by_index(source: np.ndarray, begins: I64, lengths: I64, out: np.ndarray, targets: I64, lattice: Lattice | None) -> None:
    """The plain way, in NumPy alone."""
    inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = source[np.repeat(begins, lengths) + inside]
    out[np.repeat(targets, lengths) + inside] = values if lattice is None else lattice.from_stored(values)
