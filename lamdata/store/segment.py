"""Segment: reads blocks of one segment by ranges of bytes and decodes them, without the Zarr Array API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..places import Place
from ..places.local import LocalPlace
from ..places.pool import POOL
from .codec import CRC, ChecksumError, check, decode_block, index_bytes, unpack_index
from .layout import ELEMENT_BYTES, SPLITS, ArrayPlan
from .metadata import block_arrays
from .shard import SegmentEntry, shard_path

FETCHES = 5  # of a chunk whose checksum does not match

Decoded = tuple[str, int, np.ndarray]  # array, the first of some of the blocks asked for, their values: (blocks, *block shape)
Reading = Callable[[], Iterator[Decoded]]


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
        self._disk = place if isinstance(place, LocalPlace) else None
        self._indexes: dict[tuple[str, int], NDArray[np.uint64]] = {}  # array and shard -> offset and length of its chunks
        self._arrays: dict[str, ArrayPlan] = {}

    def array(self, name: str) -> ArrayPlan:
        """How array `name` is stored."""
        if name not in self._arrays:
            self._arrays[name] = self.plan.array(name)
        return self._arrays[name]

    def read(self, names: Sequence[str], blocks: Sequence[int]) -> dict[str, np.ndarray]:
        """Return name -> (len(blocks), *block shape) of `stored` type, off no lattice; constant arrays are left out."""
        found: dict[str, np.ndarray] = {}
        [reading] = self.begin(blocks, names)
        for name, first, values in reading():
            if name not in found:
                found[name] = np.empty((len(blocks), *values.shape[1:]), values.dtype)
            found[name][first : first + len(values)] = values
        return found

    def begin(self, blocks: Sequence[int], *groups: Sequence[str]) -> list[Reading]:
        """Ask for groups of arrays of some blocks; the call that is returned for each waits for it and decodes a few blocks at a time.

        They are as stored, off no lattice, and gone when the next are asked for: so they never leave the processor's cache.
        """
        some = [[array for array in map(self.array, names) if array.constant is None] for names in groups]
        self._load_indexes(
            [array.column.name for arrays in some for array in arrays], {block // self.plan.shard_blocks for block in blocks}
        )
        return [self._begin(arrays, blocks) for arrays in some]

    def _begin(self, arrays: Sequence[ArrayPlan], blocks: Sequence[int]) -> Reading:
        plain = [array for array in arrays if array.blosc is None and self._disk is not None]
        others = [array.column.name for array in arrays if array.blosc is not None or not plain]
        fetched = self._fetch(others, blocks) if others else ()

        def decoded() -> Iterator[Decoded]:
            room = POOL.bytes(max([self._place.request_bytes if plain else 0, *(array.block_bytes for array in arrays)]))
            for array in plain:
                yield from self._read_plain(array, blocks, room)
            places = {block: i for i, block in enumerate(blocks)}
            whole = {array.column.name: room[: array.block_bytes].view(array.stored).reshape(1, *array.block_shape) for array in arrays}
            for name, block, data in fetched:
                self._decode(data, self.array(name), block, whole[name])
                yield name, places[block], whole[name]

        return decoded

    def _read_plain(self, array: ArrayPlan, blocks: Sequence[int], room: NDArray[np.uint8]) -> Iterator[Decoded]:
        """Read uncompressed blocks from a disk, as many neighbours at a time as there is room for."""
        assert self._disk is not None
        name, size = array.column.name, array.block_bytes
        most = min(len(room) // size, len(blocks))
        values = room[: most * size].view(array.stored).reshape(most, *array.block_shape)
        whole = room.data
        bodies, checksums = [whole[at : at + size] for at in range(0, most * size, size)], [bytearray(CRC) for _ in range(most)]
        targets = [part for chunk in zip(bodies, checksums) for part in chunk]
        for block, first, count in self._stretches(blocks, longest=most):
            shard, slot = divmod(block, self.plan.shard_blocks)
            self._disk.fill(shard_path(array, shard), int(self._indexes[name, shard][slot, 0]), targets[: 2 * count])
            for k in range(count):
                try:
                    check(bodies[k], checksums[k])
                except ChecksumError as err:
                    raise self._damaged_block(array, block + k, err) from err
            yield name, first, values[:count]

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

    def _fetch(self, names: Sequence[str], blocks: Sequence[int]) -> Iterator[tuple[str, int, memoryview]]:
        """Return (array, block, compressed chunk) of arrays whose indexes are there; neighbours come by one request."""
        requests, contents = [], []
        for name, shard, slots in self._objects(names, blocks):
            path, first_block = shard_path(self.array(name), shard), shard * self.plan.shard_blocks
            for run in _runs(self._indexes[name, shard], slots, longest=self._place.request_bytes):
                offset = run[0][1]
                requests.append((path, offset, run[-1][1] + run[-1][2]))
                contents.append([(name, first_block + slot, at - offset, length) for slot, at, length in run])
        answers = self._place.read_ranges(requests)  # a distant place starts now; a disk when asked for the next
        return ((name, block, data[at : at + length]) for parts, data in zip(contents, answers) for name, block, at, length in parts)

    def _objects(self, names: Sequence[str], blocks: Sequence[int]) -> Iterator[tuple[str, int, list[int]]]:
        """Yield (array, shard, its wanted chunks)."""
        by_shard: dict[int, list[int]] = {}
        for block in sorted(set(blocks)):
            shard, slot = divmod(block, self.plan.shard_blocks)
            by_shard.setdefault(shard, []).append(slot)
        for name in names:
            for shard, slots in by_shard.items():
                yield name, shard, slots

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
        missing = sorted({(name, shard) for name in names for shard in shards} - self._indexes.keys())
        for attempt in range(FETCHES):
            if not missing:
                return
            failed, paths = [], [shard_path(self.array(name), shard) for name, shard in missing]
            answers = self._place.read_ranges([(path, 0, index_bytes(self.plan.shard_blocks)) for path in paths])
            for key, path, data in zip(missing, paths, answers):
                try:
                    self._indexes[key] = unpack_index(data, self.plan.shard_blocks)
                except ChecksumError as err:
                    failed.append(key)
                    self._place.forget(path)
                    if attempt + 1 == FETCHES or self._disk is not None:
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
                if attempt + 1 == FETCHES or self._disk is not None:
                    raise self._damaged_block(array, block, err) from err
            self._place.forget(shard_path(array, block // self.plan.shard_blocks))
            data = next(iter(self._fetch([array.column.name], [block])))[2]

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
