"""Segment: reads blocks of one segment by ranges of bytes and decodes them, without the Zarr Array API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..places.local import LocalPlace
from ..places.pool import POOL
from ..places.remote import Place
from .codec import CRC, ChecksumError, check, decode_block, index_bytes, unpack_index
from .layout import ELEMENT_BYTES, SPLITS, ArrayPlan
from .metadata import block_arrays
from .shard import SegmentEntry, shard_path

FETCHES = 5  # of a chunk whose checksum does not match


@dataclass(frozen=True, slots=True)
class BlockStatistics:
    """What is known of each block without reading it. B = blocks."""

    elements: NDArray[np.bool_]  # (B, 120) which atomic numbers occur
    smallest: NDArray[np.int32]  # (B,) atoms of the smallest frame
    largest: NDArray[np.int32]  # (B,)
    splits: NDArray[np.int32]  # (B, 3) frames in train, validation and test


class Segment:
    """One immutable segment of a store."""

    def __init__(self, place: Place, entry: SegmentEntry):
        self.entry, self.plan = entry, entry.plan
        self._place, self.url = place, place.url
        self._indexes: dict[str, NDArray[np.uint64]] = {}  # object -> offset and length of its chunks
        self._arrays: dict[str, ArrayPlan] = {}

    def array(self, name: str) -> ArrayPlan:
        """How array `name` is stored."""
        if name not in self._arrays:
            self._arrays[name] = self.plan.array(name)
        return self._arrays[name]

    def read(self, names: Sequence[str], blocks: Sequence[int]) -> dict[str, np.ndarray]:
        """Return name -> (len(blocks), *block shape) of `stored` type, still on the lattice; constant arrays are left out."""
        return self.begin(names, blocks)()

    def begin(self, names: Sequence[str], blocks: Sequence[int]) -> Callable[[], dict[str, np.ndarray]]:
        """Ask for what `read` reads; the call that is returned waits for it and decodes."""
        arrays = [self.array(name) for name in names if self.array(name).constant is None]
        self._load_indexes([array.column.name for array in arrays], {block // self.plan.shard_blocks for block in blocks})
        plain = [array for array in arrays if array.blosc is None and isinstance(self._place, LocalPlace)]
        fetched = self.fetch([array.column.name for array in arrays if array not in plain], blocks)

        def finish() -> dict[str, np.ndarray]:
            outs = {array.column.name: POOL.take((len(blocks), *array.block_shape), array.stored) for array in arrays}
            places = {block: i for i, block in enumerate(blocks)}
            for array in plain:
                self._read_plain(array, blocks, outs[array.column.name])
            for name, block, data in fetched:
                self._decode(data, self.array(name), block, outs[name][places[block]])
            return outs

        return finish

    def _read_plain(self, array: ArrayPlan, blocks: Sequence[int], out: np.ndarray) -> None:
        """Read uncompressed blocks from a disk to where they shall be, without a buffer between."""
        size, bodies = array.block_bytes, memoryview(out).cast("B")
        stretches = self._stretches(blocks, longest=max(1, self._place.request_bytes // size))
        for shard, some in groupby(stretches, key=lambda stretch: stretch[0] // self.plan.shard_blocks):
            path, reads = shard_path(array, shard), []
            for block, first, count in some:
                chunks = [(bodies[at : at + size], bytearray(CRC)) for at in range(first * size, (first + count) * size, size)]
                reads.append(
                    (
                        block,
                        chunks,
                        (int(self._indexes[path][block % self.plan.shard_blocks, 0]), [part for chunk in chunks for part in chunk]),
                    )
                )
            for (block, chunks, _), _ in zip(reads, self._place.read_into(path, [request for _, _, request in reads])):
                for k, (body, checksum) in enumerate(chunks):
                    try:
                        check(body, checksum)
                    except ChecksumError as err:
                        raise self._damaged_block(array, block + k, err) from err

    def _stretches(self, blocks: Sequence[int], *, longest: int) -> list[tuple[int, int, int]]:
        """Join neighbours of one shard, at most `longest` of them: (first block, its place in `blocks`, how many)."""
        found: list[tuple[int, int, int]] = []
        for place, block in enumerate(blocks):
            first, at, count = found[-1] if found else (-1, 0, 0)
            if first + count == block and count < longest and block % self.plan.shard_blocks:
                found[-1] = (first, at, count + 1)
            else:
                found.append((block, place, 1))
        return found

    def fetch(self, names: Sequence[str], blocks: Sequence[int]) -> Iterator[tuple[str, int, memoryview]]:
        """Return (array, block, compressed chunk) of arrays that have chunks; neighbours come by one request."""
        self._load_indexes(names, {block // self.plan.shard_blocks for block in blocks})
        requests, contents = [], []
        for path, name, slots, first_block in self._objects(names, blocks):
            for run in _runs(self._indexes[path], slots, longest=self._place.request_bytes):
                offset = run[0][1]
                requests.append((path, offset, run[-1][1] + run[-1][2]))
                contents.append([(name, first_block + slot, at - offset, length) for slot, at, length in run])
        answers = self._place.read_ranges(requests)  # a distant place starts now; a disk when asked for the next
        return ((name, block, data[at : at + length]) for parts, data in zip(contents, answers) for name, block, at, length in parts)

    def _objects(self, names: Sequence[str], blocks: Sequence[int]) -> Iterator[tuple[str, str, list[int], int]]:
        """Yield (object, array, its wanted chunks, its first block)."""
        by_shard: dict[int, list[int]] = {}
        for block in sorted(set(blocks)):
            shard, slot = divmod(block, self.plan.shard_blocks)
            by_shard.setdefault(shard, []).append(slot)
        for name in names:
            for shard, slots in by_shard.items():
                yield shard_path(self.array(name), shard), name, slots, shard * self.plan.shard_blocks

    def statistics(self) -> BlockStatistics:
        """Read what is known of each block."""
        layout = block_arrays(self.plan.blocks)
        requests = []
        for name, (shape, dtype) in layout.items():
            requests.append((f"{name}/c/0" + "/0" * (len(shape) - 1), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize))
        parts = list(self._place.read_ranges(requests))
        values = {name: np.frombuffer(part, dtype).reshape(shape) for part, (name, (shape, dtype)) in zip(parts, layout.items())}
        return BlockStatistics(
            elements=np.unpackbits(values["block_elements"], axis=1, bitorder="little", count=8 * ELEMENT_BYTES).astype(bool),
            smallest=values["block_natoms_min"],
            largest=values["block_natoms_max"],
            splits=values["block_splits"].reshape(-1, len(SPLITS)),
        )

    def _load_indexes(self, names: Sequence[str], shards: set[int]) -> None:
        """Read the indexes of objects not opened yet; those that came damaged from afar are fetched again."""
        missing = sorted({shard_path(self.array(name), shard) for name in names for shard in shards} - self._indexes.keys())
        for attempt in range(FETCHES):
            failed = []
            for path, data in zip(missing, self._place.read_ranges([(path, 0, index_bytes(self.plan.shard_blocks)) for path in missing])):
                try:
                    self._indexes[path] = unpack_index(data, self.plan.shard_blocks)
                except ChecksumError as err:
                    failed.append(path)
                    self._place.forget(path)
                    if attempt + 1 == FETCHES or isinstance(self._place, LocalPlace):
                        raise self._damaged(path, f"shard index: {err}") from err
            missing = failed

    def _damaged(self, path: str, what: str) -> StoreError:
        return StoreError(what, where=f"{self.url}/{path}", hint="run `lamdata validate`")

    def _decode(self, data: memoryview, array: ArrayPlan, block: int, out: np.ndarray) -> None:
        """Decode a chunk; one that came damaged from afar is fetched again before it counts as damaged."""
        for attempt in range(FETCHES):
            try:
                return decode_block(data, array, out)
            except ChecksumError as err:
                if attempt + 1 == FETCHES or isinstance(self._place, LocalPlace):
                    raise self._damaged_block(array, block, err) from err
            self._place.forget(shard_path(array, block // self.plan.shard_blocks))
            data = next(iter(self.fetch([array.column.name], [block])))[2]

    def _damaged_block(self, array: ArrayPlan, block: int, err: Exception) -> StoreError:
        last = min((block + 1) * self.plan.block_frames, self.plan.frames) - 1
        what = f"block {block} of `{array.column.name}` (frames {block * self.plan.block_frames}..{last}) is damaged: {err}"
        return self._damaged(shard_path(array, block // self.plan.shard_blocks), what)


def _runs(index: NDArray[np.uint64], slots: Sequence[int], *, longest: int) -> list[list[tuple[int, int, int]]]:
    """Cut wanted chunks, as (slot, offset, length), into runs that lie one after the other, of at most `longest` bytes."""
    runs: list[list[tuple[int, int, int]]] = []
    for slot, (offset, length) in zip(slots, index[slots].tolist()):
        last = runs[-1][-1] if runs else None
        joins = last is not None and last[1] + last[2] == offset and offset + length - runs[-1][0][1] <= longest
        if joins:
            runs[-1].append((slot, offset, length))
        else:
            runs.append([(slot, offset, length)])
    return runs
