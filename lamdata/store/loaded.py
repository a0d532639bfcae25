"""Loaded: decoded blocks in memory; `Buffer` picks frames in any order, `gather` copies them into one `Frames`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frames import Frames
from ..places.pool import POOL
from .gather import Ranges, reorder
from .lattice import Lattice
from .layout import ArrayPlan
from .segment import Segment

FRAME_ARRAYS = ("energy", "cell", "virial", "pbc", "charge", "multiplicity", "shortest", "has_energy", "has_forces", "has_virial")
ATOM_ARRAYS = ("numbers", "positions", "forces")
CONVERTED = 512  # frames copied and converted at a time
STREAMED = ("natoms", *FRAME_ARRAYS, *ATOM_ARRAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Blocks of one segment, one after the other, padding and all. R = rows for frames, those behind the last frame unused."""

    plans: Mapping[str, ArrayPlan]
    arrays: Mapping[str, np.ndarray]  # (R, ...) or (atom rows, ...) as stored, on the lattice; constant arrays are left out
    natoms: NDArray[np.int64]  # (R,)
    atom_starts: NDArray[np.int64]  # (R,) first atom row
    index: NDArray[np.int64]  # (R,) row in the dataset

    def copy_frame_array(self, name: str, rows: NDArray[np.int64], out: np.ndarray) -> None:
        """Write one frame array's chosen rows."""
        if name not in self.arrays:
            out[:] = self.plans[name].constant
            return
        _off_lattice(np.take(self.arrays[name], rows, axis=0), self.plans[name].lattice, out)

    def copy_atom_arrays(self, atoms: Ranges, outs: Mapping[str, np.ndarray]) -> None:
        """Write these atoms into `outs`, which have the right length."""
        direct, through = {}, {}
        for name, out in outs.items():
            if name not in self.arrays:
                out[:] = self.plans[name].constant
            else:
                (direct if self.arrays[name].dtype == out.dtype else through)[name] = out
        atoms.copy([self.arrays[name] for name in direct], list(direct.values()))
        if through:
            self._copy_and_convert(atoms, through)

    def _copy_and_convert(self, atoms: Ranges, outs: Mapping[str, np.ndarray]) -> None:
        """Copy some frames at a time and take them off their lattice while they are in the processor's cache."""
        sources = [self.arrays[name] for name in outs]
        lattices = [self.plans[name].lattice for name in outs]
        borders = [*range(0, len(atoms), CONVERTED), len(atoms)]
        ends = [0, *np.cumsum(np.add.reduceat(atoms.lengths, borders[:-1])).tolist()]
        most = max(end - begin for begin, end in zip(ends, ends[1:]))
        room = [POOL.take((most, *source.shape[1:]), source.dtype) for source in sources]
        for first, last, begin, end in zip(borders, borders[1:], ends, ends[1:]):
            parts = [array[: end - begin] for array in room]
            atoms.copy(sources, parts, first, last)
            for part, lattice, out in zip(parts, lattices, outs.values()):
                _off_lattice(part, lattice, out[begin:end])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Frames to copy out of one `Loaded`, and what to write beside them."""

    loaded: Loaded
    rows: NDArray[np.int64]  # of `loaded`
    places: NDArray[np.int64]  # of the result: where each frame goes
    dataset: int  # hash of the dataset's name
    epoch: int
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """The selected frames of some blocks, perhaps of several segments. F = frames."""

    loaded: tuple[Loaded, ...]
    sources: NDArray[np.int64]  # (F,) which of `loaded` holds a frame
    rows: NDArray[np.int64]  # (F,) its row there

    def __len__(self) -> int:
        return len(self.rows)

    def picks(self, frames: NDArray[np.int64], places: NDArray[np.int64], *, dataset: int, epoch: int = 0, head: int = 0) -> list[Pick]:
        """Pick frames of the buffer for `places` of a result."""
        sources, rows = self.sources[frames], self.rows[frames]
        found = []
        for s, loaded in enumerate(self.loaded):
            mine = np.flatnonzero(sources == s) if len(self.loaded) > 1 else slice(None)
            if len(rows[mine]):
                found.append(Pick(loaded=loaded, rows=rows[mine], places=places[mine], dataset=dataset, epoch=epoch, head=head))
        return found


def gather(picks: Sequence[Pick]) -> Frames:
    """Copy the picked frames into one `Frames`, in the order of their places: float64 if any of them is."""
    natoms = np.concatenate([pick.loaded.natoms[pick.rows] for pick in picks])
    values = _allocate(picks, len(natoms), int(natoms.sum()))
    frame = atom = 0
    for pick in picks:
        count = len(pick.rows)
        mine = natoms[frame : frame + count]
        frames, atoms = slice(frame, frame + count), slice(atom, atom + int(mine.sum()))
        for name in FRAME_ARRAYS:
            pick.loaded.copy_frame_array(name, pick.rows, values[name][frames])
        ranges = Ranges(pick.loaded.atom_starts[pick.rows], mine)
        pick.loaded.copy_atom_arrays(ranges, {name: values[name][atoms] for name in ATOM_ARRAYS})
        values["index"][frames] = pick.loaded.index[pick.rows]
        for name in ("head", "dataset", "epoch"):
            values[name][frames] = getattr(pick, name)
        frame, atom = frames.stop, atoms.stop
    return in_places(Frames(**values, natoms=natoms.astype(np.int32)), np.concatenate([pick.places for pick in picks]))


def in_places(frames: Frames, places: NDArray[np.int64]) -> Frames:
    """Put frame i into place `places[i]`, without a copy where all are there already."""
    if (places[1:] > places[:-1]).all():
        return frames
    return reorder(frames, np.argsort(places))


def _allocate(picks: Sequence[Pick], frames: int, atoms: int) -> dict[str, np.ndarray]:
    values = {"head": np.empty(frames, np.int32), "dataset": np.empty(frames, np.uint64)}
    values |= {"index": np.empty(frames, np.int64), "epoch": np.empty(frames, np.int64)}
    for name in (*FRAME_ARRAYS, *ATOM_ARRAYS):
        plans = [pick.loaded.plans[name] for pick in picks]
        length = atoms if name in ATOM_ARRAYS else frames
        values[name] = POOL.take((length, *plans[0].block_shape[1:]), max(plan.dtype for plan in plans))
    return values


def begin_load(segment: Segment, blocks: Sequence[int], *, first_index: int) -> Callable[[], Loaded]:
    """Ask for blocks of one segment; the call that is returned waits for them and decodes.

    `first_index` is the row in the dataset of the segment's first frame.
    """
    reading = segment.begin(STREAMED, blocks)
    return lambda: _loaded(segment, blocks, first_index, reading())


def _loaded(segment: Segment, blocks: Sequence[int], first_index: int, read: Mapping[str, np.ndarray]) -> Loaded:
    plan, count = segment.plan, len(blocks)
    arrays = {name: values.reshape(-1, *values.shape[2:]) for name, values in read.items()}
    rows = np.asarray(blocks)[:, None] * plan.block_frames + np.arange(plan.block_frames)
    constant = segment.array("natoms").constant
    natoms = np.where(rows < plan.frames, constant, 0) if constant is not None else arrays["natoms"].reshape(rows.shape)
    natoms = natoms.astype(np.int64)
    starts = np.cumsum(natoms, axis=1) - natoms + np.arange(count)[:, None] * plan.atom_width
    return Loaded(
        plans={name: segment.array(name) for name in STREAMED},
        arrays=arrays,
        natoms=natoms.reshape(-1),
        atom_starts=starts.reshape(-1),
        index=(rows + first_index).reshape(-1),
    )


def _off_lattice(values: np.ndarray, lattice: Lattice | None, out: np.ndarray) -> None:
    if lattice is None:
        out[:] = values
    else:
        lattice.to_values(values, out=out)
