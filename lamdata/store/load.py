"""Load: blocks of segments -> `Frames` in any order. Atoms go from each block as it is decoded straight to the places of their frames.

Rows for frames are counted through the blocks of all parts, padding and all. R = such rows, F = frames of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..frames import Frames
from ..places.pool import POOL
from .rows import copy_rows
from .segment import Reading, Segment

I64 = NDArray[np.int64]

FRAME_ARRAYS = ("energy", "cell", "virial", "pbc", "charge", "multiplicity", "weight", "shortest", "has_energy", "has_forces", "has_virial")
ATOM_ARRAYS = ("numbers", "positions", "forces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Blocks of one segment."""

    segment: Segment
    first_index: int  # row in the dataset of the segment's first frame
    blocks: Sequence[int]
    rows: slice  # its rows for frames


def begin_load(parts: Sequence[Part], rows: I64, *, dataset: int, head: int = 0, epoch: int = 0) -> Callable[[], Frames]:
    """Ask for the frames in `rows` (F,), none of them twice; the call that is returned waits for them and decodes.

    The result is float64 if any of the parts is. `dataset` is the hash of the dataset's name.
    """
    asked = [(part, part.segment.begin(part.blocks, ("natoms", *FRAME_ARRAYS), ATOM_ARRAYS)) for part in parts]

    def finish() -> Frames:
        table, begins = _frame_table([(part, of_frames) for part, (of_frames, _) in asked])
        values = {name: _rows_of(column, rows) for name, column in table.items()}
        ends = np.cumsum(values["natoms"], dtype=np.int64)
        lengths, targets = np.zeros_like(begins), np.zeros_like(begins)  # of rows that are not wanted, no atom is copied
        lengths[rows], targets[rows] = values["natoms"], ends - values["natoms"]
        for name in ATOM_ARRAYS:
            values[name] = _allocate(name, parts, int(ends[-1]))
        for part, (_, of_atoms) in asked:
            _put_atoms(part, of_atoms, (begins, lengths, targets), values)
        for name in FRAME_ARRAYS:
            if name not in table:
                values[name] = _allocate(name, parts, len(rows))
                values[name][:] = parts[0].segment.array(name).constant
        values |= {"head": np.full(len(rows), head, np.int32), "epoch": np.full(len(rows), epoch, np.int64)}
        return Frames(**values, dataset=np.full(len(rows), dataset, np.uint64))

    return finish


def _frame_table(readings: Sequence[tuple[Part, Reading]]) -> tuple[dict[str, np.ndarray], I64]:
    """What belongs to frames, row by row, and each frame's first atom in its block.

    The table has `natoms`, `index` in the dataset, and `FRAME_ARRAYS` but for those that are one value throughout.
    """
    parts = [part for part, _ in readings]
    count = parts[-1].rows.stop
    table, begins = {"index": np.empty(count, np.int64)}, np.empty(count, np.int64)
    for name in ("natoms", *FRAME_ARRAYS):
        constants = [part.segment.array(name).constant for part in parts]
        if name == "natoms" or None in constants or len(set(constants)) > 1:
            table[name] = _allocate(name, parts, count)
            for part, constant in zip(parts, constants):
                if constant is not None:
                    table[name][part.rows] = constant
    for part, reading in readings:
        size = part.segment.plan.block_frames
        for name, block, values in reading():
            lattice, first = part.segment.array(name).lattice, part.rows.start + block * size
            rows = table[name][first : first + len(values) * size].reshape(values.shape)
            rows[:] = values if lattice is None else lattice.from_stored(values)
        natoms = table["natoms"][part.rows].reshape(-1, size)
        ends = np.cumsum(natoms, axis=1, dtype=np.int64)
        if part.segment.array("natoms").constant is None and (natoms.min() < 0 or ends[:, -1].max() > part.segment.plan.atom_width):
            raise StoreError("`natoms` does not fit the blocks of atoms", where=part.segment.url, hint="run `lamdata validate`")
        np.subtract(ends, natoms, out=begins[part.rows].reshape(-1, size))
        firsts = part.first_index + np.asarray(part.blocks) * size
        np.add(firsts[:, None], np.arange(size), out=table["index"][part.rows].reshape(-1, size))
    return table, begins


def _put_atoms(part: Part, reading: Reading, ranges: tuple[I64, I64, I64], values: dict[str, np.ndarray]) -> None:
    """Write the atoms of one part's frames. `ranges` (R,) say from where in its block how many atoms of a frame go to where."""
    size = part.segment.plan.block_frames
    of_block = [[column[first : first + size] for column in ranges] for first in range(part.rows.start, part.rows.stop, size)]
    for array in map(part.segment.array, ATOM_ARRAYS):
        if array.constant is not None:
            block = np.full(array.block_shape, array.constant, array.dtype)
            for begins, lengths, targets in of_block:
                copy_rows(block, begins, lengths, values[array.column.name], targets)
    for name, first, blocks in reading():
        lattice = part.segment.array(name).lattice
        for block, (begins, lengths, targets) in zip(blocks, of_block[first:]):
            copy_rows(block, begins, lengths, values[name], targets, lattice)


def _allocate(name: str, parts: Sequence[Part], length: int) -> np.ndarray:
    plans = [part.segment.array(name) for part in parts]
    return POOL.take((length, *plans[0].block_shape[1:]), max(plan.dtype for plan in plans))


def _rows_of(column: np.ndarray, rows: I64) -> np.ndarray:
    out = POOL.take((len(rows), *column.shape[1:]), column.dtype)
    return np.take(column, rows, axis=0, out=out, mode="clip")  # the other modes copy twice; all rows are there
