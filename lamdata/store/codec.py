"""Blocks of an array to bytes and back: lattice integers, blosc, crc32c, and shards that begin with their index.

The bytes are those of Zarr v3's `sharding_indexed` codec over `fixedscaleoffset`, `bytes`, `blosc` and `crc32c`, so that any Zarr
reader opens them; this module is the short way round, without the Array API.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from ..errors import DataError
from .lattice import Lattice
from .layout import ArrayPlan

try:
    from awscrt.checksums import crc32c  # several times faster than zarr's own dependency, and it lets other threads run
except ImportError:
    from google_crc32c import value

    def crc32c(data: bytes | memoryview) -> int:
        """The checksum of RFC 3720; this package takes arrays, but no memoryview."""
        return value(np.frombuffer(data, np.uint8)) if len(data) else 0


ABSENT = 2**64 - 1  # offset and length of a chunk that a shard does not hold
ENTRY = 16  # bytes of an index entry
CRC = 4  # bytes of a checksum
BY_BYTES, BY_BITS = 1, 2  # blosc's shuffles
SAMPLE = 1 << 14  # values of a block by which its shuffle is chosen
QUICKLY = "lz4", 9  # how they are packed for that
WORTH = 1.03  # how much larger a block may be that decodes several times faster

blosc.use_threads = False  # each block is decoded by one thread: blocks run in parallel, and bytes never depend on a thread count


class ChecksumError(ValueError):
    """Bytes that are not what was written."""


def encode_block(values: np.ndarray, array: ArrayPlan) -> bytes:
    """Compress one block, the first rows of it in `array.dtype` with zeros behind them, and append its crc32c."""
    stored = _full(values, array) if array.lattice is None else _to_integers(values, array, array.lattice)
    body: bytes | memoryview
    if array.blosc is None:
        body = np.ascontiguousarray(stored).reshape(-1).view(np.uint8).data
    else:
        compressor, level, shuffle = array.blosc
        body = _packed(stored, compressor, level, shuffle if array.lattice is None else _shuffle_of(stored, array))
    return b"".join((body, checksum(body)))


def _shuffle_of(stored: np.ndarray, array: ArrayPlan) -> int:
    """By bytes, which decodes four times faster than by bits, unless that packs a block less: bar whole bytes of zeros it does.

    Each block says how it is shuffled in its own header, so every decoder takes either.
    """
    assert array.blosc is not None
    compressor, level = array.blosc[:2] if array.packing == 1 else QUICKLY
    sample = stored.reshape(-1)[:SAMPLE]
    by_bytes, by_bits = (len(_packed(sample, compressor, level, shuffle)) for shuffle in (BY_BYTES, BY_BITS))
    return BY_BYTES if by_bytes <= WORTH * by_bits else BY_BITS


def _packed(stored: np.ndarray, compressor: str, level: int, shuffle: int) -> bytes:
    body: bytes = blosc.compress(np.ascontiguousarray(stored), compressor.encode(), level, shuffle, 0)
    return body


def decode_block(data: memoryview, array: ArrayPlan, out: np.ndarray) -> None:
    """Check and decompress one block into `out`, of `array.stored` and the full block shape: still what `Lattice.from_stored` takes."""
    body = data[:-CRC]
    check(body, data[-CRC:])
    if array.plain:
        if len(body) != out.nbytes:
            raise ChecksumError(f"{len(body)} bytes, expected {out.nbytes}")
        out.reshape(-1).view(np.uint8)[:] = body
        return
    try:
        blosc.decompress(body, out)
    except (ValueError, RuntimeError) as err:  # a header that a wrong checksum let through, or one of another size
        raise ChecksumError(str(err)) from err


def checksum(body: bytes | memoryview) -> bytes:
    """The crc32c that is stored behind some bytes."""
    return int(crc32c(body)).to_bytes(CRC, "little")


def check(body: memoryview, stored: bytes | bytearray | memoryview) -> None:
    """Compare bytes with the crc32c that was stored behind them."""
    if len(stored) != CRC or crc32c(body) != int.from_bytes(stored, "little"):
        raise ChecksumError("crc32c does not match")


def pack_shard(chunks: Sequence[bytes], slots: int) -> bytes:
    """Put chunks one after the other behind the index, which has `slots` entries; missing ones at the end are marked absent."""
    index = np.full((slots, 2), ABSENT, "<u8")
    sizes = np.array([len(chunk) for chunk in chunks], np.uint64)
    index[: len(chunks), 0] = index_bytes(slots) + np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.uint64)
    index[: len(chunks), 1] = sizes
    head = index.tobytes()
    return b"".join([head, checksum(head), *chunks])


def index_bytes(slots: int) -> int:
    """Bytes of a shard's index, its checksum included."""
    return slots * ENTRY + CRC


def unpack_index(data: bytes | memoryview, slots: int) -> NDArray[np.uint64]:
    """Return (slots, 2): offset and length of each chunk."""
    view = memoryview(data)
    check(view[:-CRC], view[-CRC:])
    return np.frombuffer(bytes(view[:-CRC]), "<u8").reshape(slots, 2)  # a copy: the index outlives what it was read with


def _full(values: np.ndarray, array: ArrayPlan) -> np.ndarray:
    if len(values) == array.block_shape[0]:
        return values
    block = np.zeros(array.block_shape, array.dtype)
    block[: len(values)] = values
    return block


def _to_integers(values: np.ndarray, array: ArrayPlan, lattice: Lattice) -> np.ndarray:
    stored = lattice.to_stored(values, room=array.block_shape)
    if stored is None:
        raise DataError(f"{array.column.name} is not on the lattice of the plan", hint="plan the segment from a survey of all its frames")
    return stored
