"""A tar, compressed or not, as an index of its members and streams of their bytes.

A compressed tar has no index and reads only forwards. So a process keeps the index, as many small members as fit in `CACHE` bytes,
and a cursor that goes on from where the last member ended: reading members in order costs one pass, whatever the size.
"""

from __future__ import annotations

import io
import tarfile
from collections import OrderedDict
from typing import TYPE_CHECKING, BinaryIO

from lamdata.errors import SourceError

from .streams import BUFFER, Slice, open_bytes

if TYPE_CHECKING:
    pass

CACHE = 128 << 20  # bytes of members kept for one archive
SMALL = 16 << 20  # bytes: a larger member is streamed, never held
MAX_MEMBERS = 2_000_000
MAX_HEADER = 1 << 20  # bytes of one tar header (long names); tarfile reads it whole
BLOCK = tarfile.BLOCKSIZE


class TarArchive:
    """A tar, compressed or not."""

    def __init__(self, path: str):
        self.path = path
        self.sizes: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._cursor: Forward | None = None
        self._order: list[str] = []
        self._scan()

    def _scan(self) -> None:
        with Forward(open_bytes(self.path)) as stream:
            try:
                tar = tarfile.TarFile(fileobj=stream)
                while (info := tar.next()) is not None:
                    vars(tar)["members"] = []  # tarfile would keep them all
                    self._add(info, stream)
            except (tarfile.TarError, ValueError, OverflowError) as err:
                raise SourceError(f"damaged tar ({err})", where=self.path) from None
            if stream.last.strip(b"\0") or len(stream.last) != BLOCK:  # tarfile takes a cut or a bad header for the end
                raise SourceError("the tar ends without its end mark: truncated or damaged", where=self.path)
        self._order = list(self._offsets)

    def _add(self, info: tarfile.TarInfo, stream: Forward) -> None:
        if not info.isreg() or info.issparse():
            return
        name = safe_name(info.name, where=self.path)
        self.sizes[name], self._offsets[name] = info.size, info.offset_data
        if len(self.sizes) > MAX_MEMBERS:
            raise SourceError(f"more than {MAX_MEMBERS} members", where=self.path)
        if info.size <= SMALL and self._kept_bytes + info.size <= CACHE:
            self._keep(name, stream.cut(info.offset_data, info.size))

    def _keep(self, name: str, data: bytes) -> None:
        self._kept_bytes += len(data) - len(self._kept.pop(name, b""))
        self._kept[name] = data
        while self._kept_bytes > CACHE:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])

    def open(self, member: str) -> BinaryIO:
        if member in self._kept:
            self._kept.move_to_end(member)
            return io.BytesIO(self._kept[member])
        if self.sizes[member] > SMALL:
            stream = Forward(open_bytes(self.path))
            stream.seek(self._offsets[member])
            inner = Slice(stream.inner, self.sizes[member], cut="the tar is truncated", where=self.path, owner=stream)
            return io.BufferedReader(inner, BUFFER)
        return io.BytesIO(self._advance(member))

    def _advance(self, member: str) -> bytes:
        """Read a small member, keeping those passed on the way: a file beside it will be asked for next."""
        target = self._offsets[member]
        if self._cursor is None or self._cursor.tell() > target:
            self.close()
            self._cursor = Forward(open_bytes(self.path))
        if not self._cursor.seekable():
            for name in self._order:
                if self._cursor.tell() <= self._offsets[name] < target and self.sizes[name] <= SMALL:
                    self._keep(name, self._cursor.cut(self._offsets[name], self.sizes[name]))
        data = self._cursor.cut(target, self.sizes[member])
        self._keep(member, data)
        return data

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


class Forward(io.RawIOBase):
    """A stream with the `seek` that tarfile needs, forwards only where the stream beneath cannot seek."""

    def __init__(self, inner: BinaryIO):
        self.inner, self.at, self.last, self.can_seek = inner, 0, b"", inner.seekable()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.can_seek

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        if self.can_seek:
            self.at = self.inner.seek(offset)
            return self.at
        if offset < self.at:
            raise ValueError("headers out of order")
        while self.at < offset:
            data = self.inner.read(min(1 << 20, offset - self.at))
            if not data:
                break
            self.at += len(data)
        return self.at

    def read(self, size: int = -1) -> bytes:
        """What tarfile calls, for headers only: never so much that a forged header fills the memory."""
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError("header too large")
        self.last = self.inner.read(size)
        self.at += len(self.last)
        return self.last

    def cut(self, offset: int, size: int) -> bytes:
        """Bytes `offset:offset + size`; all of them or an error."""
        self.seek(offset)
        data = self.inner.read(size)
        self.at += len(data)
        if len(data) != size:
            raise tarfile.ReadError("unexpected end of data")
        return data

    def close(self) -> None:
        if not self.closed:
            self.inner.close()
        super().close()


def safe_name(name: str, *, where: str) -> str:
    """A member's name in its plain form, or an error where it points outside."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise SourceError(f"member {name[:100]!r} points outside the archive: refused", where=where)
    return "/".join(parts)
