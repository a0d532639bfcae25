"""An LMDB file -> its keys and values, in plain Python.

The C library maps the file and trusts every page pointer in it: one flipped bit ends the process. Here each pointer is
checked, so that a damaged file is one error. The layout is that of LMDB 0.9 (lmdb.h and mdb.c of openldap, data version 1).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lamdata.errors import SourceError

MAGIC = 0xBEEFC0DE
HEADER = 16  # bytes before a page's node pointers: page number, flags, lower and upper bound
BRANCH, LEAF = 0x01, 0x02
BIG, SPECIAL = 0x01, 0x06  # of a node: value on its own pages; sub-database or sorted duplicates
MAX_DEPTH = 32
MAX_VALUE = 256 << 20
NONE = 2**64 - 1  # root of an empty tree


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one value lies in the file."""

    key: bytes
    offset: int  # bytes
    size: int  # bytes


class LmdbFile:
    """A read-only view of the main database of an LMDB file; a context manager."""

    def __init__(self, path: str | Path, *, where: str):
        self.where = where
        self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        try:
            self._bytes = os.fstat(self._file.fileno()).st_size
            self._page_size, self._root, self._count = self._newest_meta()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> LmdbFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def entries(self) -> list[Entry]:
        """All entries; numbers in numeric order (LMDB sorts "10" before "2"), other keys after them."""
        found = [] if self._root == NONE else list(self._walk(self._root, 0, set()))
        if len(found) != self._count:
            raise self._broken(f"{len(found)} entries, its header says {self._count}")
        return sorted(found, key=lambda e: (not e.key.isdigit(), int(e.key) if e.key.isdigit() and len(e.key) < 20 else 0, e.key))

    def value(self, entry: Entry) -> bytes:
        """The bytes of one entry."""
        return self._read(entry.offset, entry.size)

    def _newest_meta(self) -> tuple[int, int, int]:
        """(page size, root page, number of entries) of the later of the two meta pages."""
        metas = []
        page_size = 4096
        for page in (0, 1):
            raw = self._read(page * page_size, HEADER + 136)
            magic, version = struct.unpack_from("<II", raw, HEADER)
            if magic != MAGIC or version != 1:
                raise self._broken("not an LMDB file of data version 1")
            page_size = struct.unpack_from("<I", raw, HEADER + 24)[0]
            if page_size not in (4096, 8192, 16384, 32768, 65536):
                raise self._broken(f"page size {page_size}")
            count, root = struct.unpack_from("<QQ", raw, HEADER + 24 + 48 + 32)
            metas.append((struct.unpack_from("<Q", raw, HEADER + 128)[0], page_size, root, count))
        return max(metas)[1:]

    def _walk(self, page: int, depth: int, seen: set[int]) -> Iterator[Entry]:
        if page in seen or depth > MAX_DEPTH:
            raise self._broken(f"page {page} is its own ancestor")
        seen.add(page)
        raw = self._read(page * self._page_size, self._page_size)
        flags, lower = struct.unpack_from("<HH", raw, 10)
        nodes = (lower - HEADER) // 2
        if lower < HEADER or lower > self._page_size or not flags & (BRANCH | LEAF):
            raise self._broken(f"page {page} is no page of a tree")
        for (pointer,) in struct.iter_unpack("<H", raw[HEADER : HEADER + 2 * nodes]):
            if pointer + 8 > self._page_size:
                raise self._broken(f"a node outside page {page}")
            low, high, node_flags, key_size = struct.unpack_from("<HHHH", raw, pointer)
            if flags & BRANCH:
                yield from self._walk(low | high << 16 | node_flags << 32, depth + 1, seen)
            else:
                yield self._entry(raw, page, pointer, low | high << 16, node_flags, key_size)

    def _entry(self, raw: bytes, page: int, pointer: int, size: int, flags: int, key_size: int) -> Entry:
        start = pointer + 8 + key_size
        key = raw[pointer + 8 : start]
        if flags & SPECIAL:
            raise self._broken("named sub-databases are not read")
        if not flags & BIG:
            if start + size > self._page_size:
                raise self._broken(f"a value outside page {page}")
            return Entry(key, page * self._page_size + start, size)
        if start + 8 > self._page_size or size > MAX_VALUE:
            raise self._broken(f"a value of {size} bytes")
        first = struct.unpack_from("<Q", raw, start)[0]
        return Entry(key, first * self._page_size + HEADER, size)

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self._bytes or size > MAX_VALUE:
            raise self._broken("a pointer to behind its end: is it truncated?")
        self._file.seek(offset)
        return self._file.read(size)

    def _broken(self, what: str) -> SourceError:
        return SourceError(f"damaged LMDB file: {what}", where=self.where)
