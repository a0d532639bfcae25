"""Loaded: decoded blocks in memory, from which chosen frames are copied out as `Frames`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .frames import Frames
from .gather import ragged_take
from .lattice import Lattice
from .segment import Segment

FRAME_ARRAYS = ("energy", "cell", "virial", "pbc", "charge", "multiplicity", "shortest", "has_energy", "has_forces", "has_virial")
ATOM_ARRAYS = ("numbers", "positions", "forces")
STREAMED = ("natoms", *FRAME_ARRAYS, *ATOM_ARRAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Blocks one after the other, padding and all. R = rows for frames, those behind a block's last frame unused."""

    arrays: Mapping[str, np.ndarray]  # (R, ...) or (atom rows, ...), on the lattice where `lattices` says so
    lattices: Mapping[str, Lattice]
    constants: Mapping[str, tuple[object, np.dtype, tuple[int, ...]]]  # value, type and trailing shape of arrays without chunks
    natoms: NDArray[np.int64]  # (R,)
    atom_starts: NDArray[np.int64]  # (R,) first atom row
    index: NDArray[np.int64]  # (R,) row in the dataset

    def frames(self, rows: NDArray[np.integer], *, dataset: int, epoch: int = 0, head: int = 0) -> Frames:
        """Copy frames out, in the order of `rows`."""
        count, natoms = len(rows), self.natoms[rows]
        values = {name: self._frame_values(name, rows) for name in FRAME_ARRAYS}
        return Frames(
            **values,
            **self._atom_values(self.atom_starts[rows], natoms),
            natoms=natoms.astype(np.int32),
            head=np.full(count, head, np.int32),
            dataset=np.full(count, dataset, np.uint64),
            index=self.index[rows],
            epoch=np.full(count, epoch, np.int64),
        )

    def _frame_values(self, name: str, rows: NDArray[np.integer]) -> np.ndarray:
        if name in self.constants:
            value, dtype, trailing = self.constants[name]
            return np.full((len(rows), *trailing), value, dtype)
        return _off_lattice(self.arrays[name][rows], self.lattices.get(name))

    def _atom_values(self, starts: NDArray[np.int64], natoms: NDArray[np.int64]) -> dict[str, np.ndarray]:
        total = int(natoms.sum())
        names = [name for name in ATOM_ARRAYS if name not in self.constants]
        outs = [np.empty((total, *self.arrays[name].shape[1:]), self.arrays[name].dtype) for name in names]
        ragged_take([self.arrays[name] for name in names], outs, starts, natoms)
        values = {name: _off_lattice(out, self.lattices.get(name)) for name, out in zip(names, outs)}
        for name in self.constants.keys() & set(ATOM_ARRAYS):
            value, dtype, trailing = self.constants[name]
            values[name] = np.full((total, *trailing), value, dtype)
        return values

    @staticmethod
    def concatenate(parts: Sequence[Loaded]) -> Loaded:
        """Blocks of several segments, which may be encoded differently: their values are taken off the lattices."""
        if len(parts) == 1:
            return parts[0]
        shifts = np.cumsum([0, *(part._atom_rows for part in parts)])
        arrays = {name: np.concatenate([part._values(name) for part in parts]) for name in (*FRAME_ARRAYS, *ATOM_ARRAYS)}
        return Loaded(
            arrays=arrays,
            lattices={},
            constants={},
            natoms=np.concatenate([part.natoms for part in parts]),
            atom_starts=np.concatenate([part.atom_starts + shift for part, shift in zip(parts, shifts)]),
            index=np.concatenate([part.index for part in parts]),
        )

    @property
    def _atom_rows(self) -> int:
        return len(self.arrays["numbers"])

    def _values(self, name: str) -> np.ndarray:
        if name not in self.constants:
            return _off_lattice(self.arrays[name], self.lattices.get(name))
        value, dtype, trailing = self.constants[name]
        return np.full((self._atom_rows if name in ATOM_ARRAYS else len(self.natoms), *trailing), value, dtype)


def load(segment: Segment, blocks: Sequence[int], *, first_index: int) -> Loaded:
    """Read blocks of one segment; `first_index` is the row in the dataset of the segment's first frame."""
    plan, count = segment.plan, len(blocks)
    read = segment.read(STREAMED, blocks)
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in read.items()}
    natoms = _natoms(segment, flat, blocks)
    starts = np.cumsum(natoms.reshape(count, -1), axis=1) - natoms.reshape(count, -1)
    starts += np.arange(count)[:, None] * plan.atom_width
    index = np.asarray(blocks)[:, None] * plan.block_frames + np.arange(plan.block_frames) + first_index
    arrays = {name: segment.array(name) for name in STREAMED}
    return Loaded(
        arrays=flat,
        lattices={name: array.lattice for name, array in arrays.items() if array.lattice is not None},
        constants={
            name: (array.constant, array.dtype, array.block_shape[1:]) for name, array in arrays.items() if array.constant is not None
        },
        natoms=natoms,
        atom_starts=starts.reshape(-1),
        index=index.reshape(-1),
    )


def _natoms(segment: Segment, flat: Mapping[str, np.ndarray], blocks: Sequence[int]) -> NDArray[np.int64]:
    """(R,) atoms of each row; zero behind the last frame of the segment."""
    if "natoms" in flat:
        return flat["natoms"].astype(np.int64)
    plan = segment.plan
    rows = np.asarray(blocks)[:, None] * plan.block_frames + np.arange(plan.block_frames)
    return np.where(rows < plan.frames, int(segment.array("natoms").constant), 0).reshape(-1)


def _off_lattice(values: np.ndarray, lattice: Lattice | None) -> np.ndarray:
    return values if lattice is None else lattice.to_values(values)
