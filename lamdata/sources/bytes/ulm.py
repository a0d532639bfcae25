"""An ULM file (ase.io.ulm) -> its items, in plain Python.

ASE allocates and seeks by the numbers that it finds; here each is checked first, so that a damaged file is one error, and an item is
a document and some arrays, with no object built of it. Layout: magic, tag, version, number of items, place of the table of places;
an item is the length of a JSON document and the document, in which `"name.": {"ndarray": [shape, dtype, place]}` is an array.
"""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO, Literal

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import MAX_ATOMS

from .json_items import parse

MAGIC = (b"- of Ulm", b"AFFormat")
HEADER = 48  # bytes
WORD = 8  # bytes of an integer


class UlmFile:
    """A read-only view of an open local file."""

    def __init__(self, stream: BinaryIO, *, tag: bytes, where: str):
        self._stream, self._where = stream.fileno(), where
        self._size = os.fstat(self._stream).st_size
        head = os.pread(self._stream, HEADER, 0)
        if len(head) < HEADER or head[:8] not in MAGIC or head[8:24].rstrip() != tag:
            raise SourceError(f"not an {tag.decode().replace('-', ' ').replace('Trajectory', 'trajectory')} in the ULM format", where=where)
        _, count, start = (int(n) for n in np.frombuffer(head, "<i8", 3, 24))
        if not 0 <= count <= MAX_ATOMS * 100 or not 0 <= start <= self._size - WORD * count:
            raise SourceError(f"{count} items announced at byte {start} of {self._size}: truncated or damaged", where=where)
        self._places = np.frombuffer(os.pread(self._stream, WORD * count, start), "<i8")

    def __len__(self) -> int:
        return len(self._places)

    def item(self, index: int) -> dict[str, Any]:
        """The document of one item, its arrays where they are named; scalars and lists as they are."""
        place = int(self._places[index])
        if not HEADER <= place <= self._size - WORD:
            raise self._damaged(f"an item at byte {place} of {self._size}")
        length = int(np.frombuffer(os.pread(self._stream, WORD, place), "<i8")[0])
        if not 0 < length <= self._size - place - WORD:
            raise self._damaged(f"an item of {length} bytes at {place}")
        data = parse(os.pread(self._stream, length, place + WORD), where=f"{self._where}#{index}")
        if not isinstance(data, dict):
            raise self._damaged(f"item {index} is no document")
        order: Literal["<", ">"] = "<" if data.pop("_little_endian", True) else ">"
        return self._resolved(data, order)

    def _resolved(self, data: dict[str, Any], order: Literal["<", ">"]) -> dict[str, Any]:
        """Names that end in a dot are arrays, or documents in their turn."""
        out = {}
        for name, value in data.items():
            if name.endswith(".") and isinstance(value, dict):
                value = self._array(value["ndarray"], order) if "ndarray" in value else self._resolved(value, order)
            out[name.removesuffix(".")] = value
        return out

    def _array(self, spec: Any, order: Literal["<", ">"]) -> np.ndarray:
        try:
            shape, kind, place = spec
            dtype = np.dtype(str(kind)).newbyteorder(order)
            size = math.prod(shape) * dtype.itemsize
            if dtype.kind not in "fiub" or not all(isinstance(n, int) and n >= 0 for n in (*shape, place)) or place + size > self._size:
                raise ValueError
        except (TypeError, ValueError, SyntaxError):  # the last of a type that NumPy reads as Python
            raise self._damaged(f"an array {str(spec)[:80]}") from None
        return np.frombuffer(os.pread(self._stream, size, place), dtype).reshape(shape)

    def _damaged(self, what: str) -> SourceError:
        return SourceError(f"{what}: truncated or damaged", where=self._where)
