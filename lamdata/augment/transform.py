"""Frames -> the same physics written differently: in larger cells, or turned, labels and all.

F = frames, A = all their atoms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..counter import U32, Purpose, draw, normal
from ..frames import ATOM_FIELDS, Frames
from .ragged import products, ranks


def rotate(frames: Frames, *, keys: U32) -> Frames:
    """Turn each frame by its own random rotation: positions, cell, forces, virial, and noise where there is any."""
    turn = _rotations(draw(keys, purpose=Purpose.ROTATION, position=np.zeros(len(frames), np.uint32)))
    return frames.with_(
        positions=_turned(frames.positions, turn, frames.natoms),
        forces=_turned(frames.forces, turn, frames.natoms) if frames.has_forces.any() else frames.forces,
        noise=None if frames.noise is None else _turned(frames.noise, turn, frames.natoms),
        cell=_turned_rows(frames.cell, turn),
        virial=_turned_rows(_turned_rows(frames.virial, turn).swapaxes(1, 2), turn).swapaxes(1, 2),  # R V R^T
    )


def _rotations(words: U32) -> NDArray[np.float64]:
    """Map words (4, F) onto rotation matrices (F, 3, 3), evenly over all rotations: a normalised Gaussian quaternion."""
    w, x, y, z = quaternion = normal(words)
    w, x, y, z = quaternion / np.sqrt(w * w + x * x + y * y + z * z)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.moveaxis(np.array(rows), 2, 0)


def _turned(vectors: NDArray[np.floating], turn: NDArray[np.float64], natoms: NDArray[np.integer]) -> NDArray[np.floating]:
    """Apply the rotation of each frame (F, 3, 3) to its vectors (A, 3)."""
    out = np.empty_like(vectors)
    for atoms, axis, values in products(turn, vectors, counts=natoms):
        out[atoms, axis] = values
    return out


def _turned_rows(tensors: NDArray[np.floating], turn: NDArray[np.float64]) -> NDArray[np.floating]:
    """Apply the rotation of each frame (F, 3, 3) to the three rows of its tensor (F, 3, 3)."""
    return _turned(tensors.reshape(-1, 3), turn, np.full(len(tensors), 3)).reshape(tensors.shape)


def repeat(frames: Frames, *, max_atoms: int) -> Frames:
    """Repeat periodic cells while they have at most `max_atoms` atoms; energies and virials grow, forces are copied.

    Atoms are ordered copy by copy. The total spin of several copies is not known, so that multiplicity becomes 0.
    """
    times = _times(frames, max_atoms=max_atoms)
    copies = times.prod(axis=1)
    original = np.repeat(np.arange(len(frames)), copies)  # (C,) the frame that each copy is of
    natoms = frames.natoms[original]
    atom = np.repeat(frames.starts[original], natoms) + ranks(natoms)
    shift = (_images(times)[:, :, None] * frames.cell[original]).sum(axis=1)  # (C, 3) Å
    values = {name: getattr(frames, name) for name in ATOM_FIELDS}
    values = {name: None if value is None else value[atom] for name, value in values.items()}
    values["positions"] += np.repeat(shift, natoms, axis=0).astype(frames.positions.dtype)
    return frames.with_(
        **values,
        natoms=(frames.natoms * copies).astype(frames.natoms.dtype),
        cell=(frames.cell * times[:, :, None]).astype(frames.cell.dtype),
        energy=frames.energy * copies,
        virial=(frames.virial * copies[:, None, None]).astype(frames.virial.dtype),
        charge=(frames.charge * copies).astype(frames.charge.dtype),
        multiplicity=np.where(copies > 1, 0, frames.multiplicity).astype(frames.multiplicity.dtype),
    )


def _times(frames: Frames, *, max_atoms: int) -> NDArray[np.int64]:
    """Return (F, 3) repeats along each axis: one more along the shortest periodic axis, as long as there is room."""
    length = np.where(frames.pbc, np.sqrt((frames.cell.astype(np.float64) ** 2).sum(axis=2)), np.inf)
    times = np.ones((len(frames), 3), np.int64)
    room = frames.pbc.any(axis=1)
    while room.any():
        axis = (length * times).argmin(axis=1)
        longer = times + (np.arange(3) == axis[:, None])
        room &= frames.natoms * longer.prod(axis=1) <= max_atoms
        times = np.where(room[:, None], longer, times)
    return times


def _images(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (sum of copies, 3) lattice translations of each frame's copies, the last axis fastest."""
    copies = times.prod(axis=1)
    rank, each = ranks(copies), np.repeat(times, copies, axis=0)
    return np.stack([rank // (each[:, 1] * each[:, 2]), rank // each[:, 2] % each[:, 1], rank % each[:, 2]], axis=1)
