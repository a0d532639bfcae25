"""A .npy stream -> its rows, a block at a time: memory does not grow with the file, and nothing is unpickled."""

from __future__ import annotations

import math
import os
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib import format as npy

from lamdata.errors import SourceError

from .files import SourceFile
from .say import say

MAX_ROW = 256 << 20  # bytes of one row, and of an array that is not in C order


class NpyRows:
    """Rows of an array of numbers, each flat; a 0-d array is one row. `take` reads on."""

    def __init__(self, file: SourceFile):
        self._file, self._stream = file, file.open()
        try:
            shape, fortran, self._dtype = _header(self._stream)
        except (ValueError, TypeError, SyntaxError, TokenError, EOFError, OverflowError, RecursionError, MemoryError) as err:
            self.close()
            raise SourceError(f"not a .npy array of numbers: {say(err)}", where=file.name) from None
        self.count, self.width = (shape or (1,))[0], math.prod(shape[1:])
        size = math.prod(shape) * self._dtype.itemsize
        if self._dtype.kind not in "fiub" or min(shape, default=0) < 0 or self.width * self._dtype.itemsize > MAX_ROW:
            raise SourceError(f"an array of {self._dtype} with shape {shape}", where=file.name)
        if fortran and len(shape) > 1 and size > MAX_ROW:
            raise SourceError(f"{size} bytes in Fortran order", where=file.name, hint="save it in C order")
        self._whole = (
            self._read(self.count).ravel().reshape(shape, order="F").reshape(self.count, -1) if fortran and len(shape) > 1 else None
        )
        self._at = 0

    def skip(self, rows: int) -> None:
        """Pass over the next rows of a file that is plain."""
        self._at += rows
        if self._whole is None:
            self._stream.seek(rows * self.width * self._dtype.itemsize, os.SEEK_CUR)

    def take(self, rows: int) -> np.ndarray:
        """(rows, width) the next rows; an error where the file ends before."""
        self._at += rows
        return self._read(rows) if self._whole is None else self._whole[self._at - rows : self._at]

    def _read(self, rows: int) -> np.ndarray:
        size = rows * self.width * self._dtype.itemsize
        raw = self._stream.read(size)
        if len(raw) != size:
            raise SourceError(f"truncated: {self.count} rows announced", where=self._file.name)
        return np.frombuffer(raw, self._dtype).reshape(rows, self.width)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"version {version}")
