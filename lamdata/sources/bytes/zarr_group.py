"""A Zarr group (format 3) that lies beside its root `zarr.json` -> its attributes and arrays, in a folder, an archive or a bucket.

The files are data of others. What an array declares is checked before a byte of it is decoded: plain numbers, codecs that only decode, chunks of bounded
size; and no key leads out of the folder.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Iterable
from typing import Any, BinaryIO

from zarr import open_array
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from lamdata.errors import SourceError

from .group_files import ROOT, document_of
from .source_file import SourceFile

MAX_CHUNK = 1 << 30  # bytes of a decoded chunk
SKIP = 1 << 20
NO_KEYS: tuple[str, ...] = ()
TYPES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}
CODECS = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"}  # of the specification; others come with packages


class ZarrGroup:
    """A root `zarr.json` and what lies below it."""

    def __init__(self, file: SourceFile):
        self.file = file
        document = document_of(file)
        if document.get("zarr_format") != 3 or document.get("node_type") != "group" or not isinstance(document.get("attributes", {}), dict):
            raise SourceError("is not a Zarr group of format 3", where=file.name)
        self.attributes: dict[str, Any] = document.get("attributes", {})
        self._store = _Beside(file)

    def names(self, group: str) -> list[str]:
        """The arrays of a group below the root, by name."""
        found = (posixpath.relpath(one.name, self.file.folder or ".") for one in self.file.siblings(f"{group}/*/{ROOT}"))
        return [posixpath.basename(posixpath.dirname(path)) for path in found]

    def array(self, path: str) -> Any:
        """An array that slices as NumPy's do, decoding what it is asked for; None where there is none of this name."""
        file = self.file.sibling(f"{path}/{ROOT}")
        if file is None:
            return None
        _check(document_of(file), file.name)
        try:
            return open_array(store=self._store, path=path, mode="r", zarr_format=3)
        except (ValueError, TypeError, KeyError, NotImplementedError) as err:
            raise SourceError(f"a Zarr array that does not open: {' '.join(str(err).split())[:160]}", where=file.name) from err


def _check(document: dict[str, Any], where: str) -> None:
    """Refuse an array that is no plain table of numbers."""
    kind = document.get("data_type")
    if document.get("node_type") != "array" or not isinstance(kind, str) or kind not in TYPES:
        raise SourceError(f"an array of {str(kind)[:40]}, expected numbers", where=where)
    if others := sorted(_codecs(document.get("codecs")) - CODECS):
        raise SourceError(
            f"a codec that is not known: {', '.join(others)[:80]}", where=where, hint=f"write it with one of {', '.join(sorted(CODECS))}"
        )
    for shape in _chunk_shapes(document):
        size = TYPES[kind]
        for length in shape if isinstance(shape, list) else [-1]:
            size *= length if isinstance(length, int) and length > 0 else MAX_CHUNK + 1
        if size > MAX_CHUNK:
            raise SourceError(f"a chunk of shape {str(shape)[:60]}, expected at most {MAX_CHUNK >> 20} MiB", where=where)


def _codecs(codecs: Any) -> set[str]:
    """Names of codecs, those inside shards too."""
    found: set[str] = set()
    for codec in codecs if isinstance(codecs, list) else [None]:
        if not isinstance(codec, dict):
            return {"nothing"}
        found.add(str(codec.get("name")))
        if codec.get("name") == "sharding_indexed":
            inside = codec.get("configuration", {})
            found |= _codecs(inside.get("codecs")) | _codecs(inside.get("index_codecs"))
    return found


def _chunk_shapes(document: dict[str, Any]) -> Iterable[Any]:
    """What is decoded at once: inner chunks of shards, else chunks."""
    sharding = [codec for codec in document["codecs"] if codec["name"] == "sharding_indexed"]
    if sharding:
        return [codec["configuration"].get("chunk_shape") for codec in sharding]
    grid = document.get("chunk_grid")
    return [grid.get("configuration", {}).get("chunk_shape") if isinstance(grid, dict) else None]


class _Beside(Store):
    """The files beside one file, as zarr-python asks for them. Read-only."""

    supports_writes = supports_deletes = supports_listing = False

    def __init__(self, file: SourceFile):
        super().__init__(read_only=True)
        self._file = file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Beside) and other._file == self._file

    async def get(self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The bytes of a file, or some of them; None where there is no such file."""
        file = self._file.sibling(key)
        if file is None:
            return None
        with file.stored() as stream:  # chunks are packed, too, and are for their codec
            data = _some(stream, byte_range)
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """`get` of several."""
        return [await self.get(key, prototype, wanted) for key, wanted in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return self._file.sibling(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Nothing is written to a source."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Nothing is removed from a source."""
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        """Not asked for where arrays are opened by name."""
        for key in NO_KEYS:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """As `list`."""
        for key in NO_KEYS:
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """As `list`."""
        for key in NO_KEYS:
            yield key


def _some(stream: BinaryIO, wanted: ByteRequest | None) -> bytes:
    if isinstance(wanted, SuffixByteRequest):
        return stream.read()[-wanted.suffix :]
    if isinstance(wanted, RangeByteRequest):
        _skip(stream, wanted.start)
        return stream.read(wanted.end - wanted.start)
    if isinstance(wanted, OffsetByteRequest):
        _skip(stream, wanted.offset)
    return stream.read()


def _skip(stream: BinaryIO, count: int) -> None:
    if stream.seekable():
        stream.seek(count)
        return
    while count > 0 and (block := stream.read(min(count, SKIP))):
        count -= len(block)
