"""Byte streams: a local path or URL in, its decompressed bytes out, bounded and with errors that name the file."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from lamdata.errors import SetupError, SourceError

from .ahead import Ahead
from .decompressor import Decompressor

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # the same, for older Pythons

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_RATIO = 200  # text of DFT codes packs 5 to 50 times; beyond this it is a bomb
FREE = 64 << 20  # bytes: small files may pack as well as they like
BUFFER = 1 << 18


OPENERS: dict[bytes, Callable[[BinaryIO], Decompressor]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed, mode="rb"),
    b"BZh": lambda packed: Ahead(bz2.BZ2File(packed)),
    b"\xfd7zXZ\x00": lambda packed: Ahead(lzma.LZMAFile(packed)),  # noqa: SIM115 closed with it
    b"\x28\xb5\x2f\xfd": lambda packed: Ahead(zstd.ZstdFile(packed)),  # noqa: SIM115 closed with it
}
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


def is_url(path: str) -> bool:
    """Say whether fsspec must open it."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str) -> str:
    """A `file://` URL as a path; anything else as it is."""
    return path.removeprefix("file://")


def open_stored(path: str, *, ranges: bool = False) -> BinaryIO:
    """Open a local path, or any fsspec URL, as it is stored; `ranges` asks a web server for parts, not all from the start."""
    try:
        if not is_url(path):
            return open(local_path(path), "rb")
        return _open_url(path, ranges)
    except ImportError as err:
        raise SetupError(str(err), where=path) from None
    except FileNotFoundError:
        raise SourceError("no such file", where=path) from None
    except Exception as err:  # each remote file system has its own tree of errors
        raise SourceError(f"cannot be opened ({_say(err)})", where=path) from err


def _open_url(url: str, ranges: bool) -> BinaryIO:
    import fsspec

    if ranges or not url.startswith(("http://", "https://")):
        return cast(BinaryIO, fsspec.open(url, "rb").open())
    # A plain web server need not know ranges, and says so only after a failed read; a stream works with any.
    stream = fsspec.open(url, "rb", block_size=0).open()
    return io.BufferedReader(Counted(stream, where=url, can_seek=False), BUFFER)


def open_bytes(path: str) -> BinaryIO:
    """Open a path or URL, decompressed if its first bytes say that it is gz, bz2, xz or zstd."""
    name = path.split("?")[0] if is_url(path) else path
    return decompressed(open_stored(path), name=name, where=path)


def decompressed(stored: BinaryIO, *, name: str, where: str) -> BinaryIO:
    """Wrap an open stream: decompressed where its first bytes say so, bounded, every error a `SourceError`."""
    counted = Counted(stored, where=where)
    packed = io.BufferedReader(counted, BUFFER)
    head = packed.peek(8)[:8]
    opener = next((opener for magic, opener in OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        if name.endswith(SUFFIXES):
            packed.close()
            raise SourceError("is named as a compressed file but is none: empty or damaged", where=where)
        return packed
    return io.BufferedReader(Unpacked(opener(packed), packed, counted), BUFFER)


def between(stream: BinaryIO, begin: int, end: int, *, where: str) -> BinaryIO:
    """Bytes `begin:end` of a stream that can seek."""
    stream.seek(begin)
    return io.BufferedReader(Slice(stream, end - begin, cut="has become shorter", where=where), BUFFER)


class Slice(io.RawIOBase):
    """So many of the next bytes of a stream, or an error that says how it is `cut`; with it `owner`, or else the stream, is closed."""

    def __init__(self, stream: BinaryIO, size: int, *, cut: str, where: str, owner: io.IOBase | None = None):
        self.stream, self.left, self.cut, self.where, self.owner = stream, size, cut, where, owner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.stream.read(min(len(view), self.left))
        if not data and self.left:
            raise SourceError(self.cut, where=self.where)
        view[: len(data)] = data
        self.left -= len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            (self.owner or self.stream).close()
        super().close()


class Counted(io.RawIOBase):
    """A stream that knows how much was read from it and where it is."""

    def __init__(self, inner: BinaryIO, *, where: str, can_seek: bool | None = None):
        self.inner, self.where, self.count = inner, where, 0
        self.can_seek = inner.seekable() if can_seek is None else can_seek

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.can_seek

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell() if self.can_seek else self.count

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            count = self.inner.readinto(buffer) if isinstance(self.inner, io.BufferedIOBase) else self._read_and_copy(buffer)
        except SourceError:
            raise
        except Exception as err:
            raise SourceError(f"cannot be read ({_say(err)})", where=self.where) from err
        self.count += count
        return count

    def _read_and_copy(self, buffer: WriteableBuffer) -> int:
        """What not every remote file does itself."""
        view = memoryview(buffer).cast("B")
        data = self.inner.read(len(view)) or b""
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.inner.close()
        super().close()


class Unpacked(io.RawIOBase):
    """Decompressed bytes that end in an error where they are damaged, or where far more comes out than went in."""

    def __init__(self, inner: Decompressor, packed: BinaryIO, counted: Counted):
        self.inner, self.packed, self.counted, self.count = inner, packed, counted, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.count

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self.inner.read(len(view))
        except SourceError:
            raise
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError) as err:
            raise SourceError(f"damaged or truncated ({_say(err)})", where=self.counted.where) from None
        view[: len(data)] = data
        self.count += len(data)
        if self.count > FREE and self.count > MAX_RATIO * self.counted.count:
            raise SourceError(f"unpacks to more than {MAX_RATIO} times its size: refused", where=self.counted.where)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.inner.close()
            self.packed.close()
        super().close()


def size_of(path: str) -> int:
    """Bytes of a path or URL as it is stored; 0 where a server does not say."""
    if not is_url(path):
        try:
            return os.stat(local_path(path)).st_size
        except OSError:
            raise SourceError("no such file", where=path) from None
    try:
        return _size_of_url(path)
    except Exception:
        return 0  # a size only spreads the work


@functools.lru_cache(maxsize=1 << 16)
def _size_of_url(url: str) -> int:
    """What a server says, asked once: an ingest deals files out by their sizes several times."""
    import fsspec

    files, inside = fsspec.url_to_fs(url)
    return int(files.size(inside) or 0)


def _say(err: BaseException) -> str:
    text = " ".join(str(err).split())[:200]
    return f"{type(err).__name__}: {text}" if text else type(err).__name__
