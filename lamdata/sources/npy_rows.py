"""A .npy stream -> its rows, a few at a time: memory does not grow with the file, and nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy

from ..errors import SourceError
from .files import SourceFile

BLOCK = 8 << 20  # bytes read at a time
MAX_ROW = 256 << 20  # bytes of one row, and of an array that is not in C order


def npy_rows(file: SourceFile) -> tuple[int, Iterator[np.ndarray]]:
    """Return (number of rows, iterator over the rows), each row flat; a 0-d array is one row."""
    stream = file.open()
    try:
        shape, fortran, dtype = _header(stream)
        row = math.prod(shape[1:]) * dtype.itemsize
        if dtype.kind not in "fiub" or min(shape, default=0) < 0 or row > MAX_ROW:
            raise SourceError(f"an array of {dtype} with shape {shape}", where=file.name)
        count = shape[0] if shape else 1
        if fortran and len(shape) > 1:
            return count, iter(_transposed(stream, shape, dtype, file))
        return count, _rows(stream, count, row, dtype, file)
    except (ValueError, TypeError, SyntaxError, TokenError, EOFError, OverflowError, RecursionError, MemoryError) as err:
        stream.close()
        raise SourceError(f"not a .npy array of numbers: {str(err)[:120]}", where=file.name) from None


def _header(stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"version {version}")


def _rows(stream, count: int, row: int, dtype: np.dtype, file: SourceFile) -> Iterator[np.ndarray]:
    batch = max(1, BLOCK // max(row, 1))
    with stream:
        for start in range(0, count if row else 0, batch):
            n = min(batch, count - start)
            block = stream.read(n * row)
            if len(block) != n * row:
                raise SourceError(f"truncated: {count} rows announced, {start + len(block) // row} found", where=file.name)
            yield from np.frombuffer(block, dtype).reshape(n, -1)


def _transposed(stream, shape: tuple[int, ...], dtype: np.dtype, file: SourceFile) -> np.ndarray:
    """Rows of an array in Fortran order, which must be held whole."""
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_ROW:
        raise SourceError(f"{size} bytes in Fortran order", where=file.name, hint="save it in C order")
    with stream:
        raw = stream.read(size)
    if len(raw) != size:
        raise SourceError("truncated", where=file.name)
    return np.frombuffer(raw, dtype).reshape(shape, order="F").reshape(shape[0], -1)
