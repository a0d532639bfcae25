"""Segment: reads blocks of one segment by ranges of bytes and decodes them, without the Zarr Array API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .codec import ABSENT, ChecksumError, decode_block, index_bytes, unpack_index
from .errors import StoreError
from .layout import ELEMENT_BYTES, SPLITS, ArrayPlan
from .metadata import block_arrays
from .pool import POOL
from .remote import Place, Range
from .shard import SegmentEntry, shard_path


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
        arrays = [self.array(name) for name in names if self.array(name).constant is None]
        outs = {array.column.name: POOL.take((len(blocks), *array.block_shape), array.stored) for array in arrays}
        places = {block: i for i, block in enumerate(blocks)}
        for name, block, data in self.fetch(list(outs), blocks):
            self._decode(data, self.array(name), block, outs[name][places[block]])
        return outs

    def fetch(self, names: Sequence[str], blocks: Sequence[int]) -> Iterator[tuple[str, int, memoryview]]:
        """Yield (array, block, compressed chunk) for arrays that have chunks; neighbours come by one request."""
        self._load_indexes(names, {block // self.plan.shard_blocks for block in blocks})
        longest = self.plan.shard_blocks if self._place.distant else 1
        runs = _runs(sorted(set(blocks)), self.plan.shard_blocks, longest)
        wanted = [(name, run) for name in names for run in runs]
        for (name, run), data in zip(wanted, self._place.read_ranges([self._range(*x) for x in wanted])):
            first = self._chunk(name, run[0])[0]
            for block in run:
                offset, length = self._chunk(name, block)
                yield name, block, data[offset - first : offset - first + length]

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
        paths = {shard_path(self.array(name), shard) for name in names for shard in shards} - self._indexes.keys()
        size = index_bytes(self.plan.shard_blocks)
        wanted = sorted(paths)
        for path, data in zip(wanted, self._place.read_ranges([(path, 0, size) for path in wanted]) if wanted else []):
            try:
                self._indexes[path] = unpack_index(data, self.plan.shard_blocks)
            except ChecksumError as err:
                raise StoreError(str(err), where=f"{self._place.url}/{path}", hint="run `lamdata validate`") from err

    def _chunk(self, name: str, block: int) -> tuple[int, int]:
        """Offset and length of a chunk in its object."""
        shard, slot = divmod(block, self.plan.shard_blocks)
        path = shard_path(self.array(name), shard)
        offset, length = self._indexes[path][slot].tolist()
        if offset == ABSENT:
            raise StoreError(f"block {block} is missing", where=f"{self._place.url}/{path}")
        return offset, length

    def _range(self, name: str, run: Sequence[int]) -> Range:
        """The bytes of neighbouring blocks, which lie one after the other."""
        start, (offset, length) = self._chunk(name, run[0])[0], self._chunk(name, run[-1])
        return shard_path(self.array(name), run[0] // self.plan.shard_blocks), start, offset + length

    def _decode(self, data: memoryview, array: ArrayPlan, block: int, out: np.ndarray) -> None:
        try:
            decode_block(data, array, out)
        except ChecksumError as err:
            path = shard_path(array, block // self.plan.shard_blocks)
            frames = f"frames {block * self.plan.block_frames}..{min((block + 1) * self.plan.block_frames, self.plan.frames) - 1}"
            raise StoreError(
                f"block {block} of `{array.column.name}` ({frames}) is damaged: {err}",
                where=f"{self._place.url}/{path}",
                hint="run `lamdata validate`",
            ) from err


def _runs(blocks: Sequence[int], shard_blocks: int, longest: int) -> list[list[int]]:
    """Cut sorted blocks into runs of at most `longest` neighbours within one shard."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][-1] + 1 and block % shard_blocks and len(runs[-1]) < longest:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs
