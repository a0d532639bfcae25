"""Points: the atoms of frames with all their periodic images, in a compact cell, whatever cell they were written in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frame import F64, Frame
from ..frames import Frames

FRACTIONS_AT_ONCE = 1 << 20  # fractional coordinates of images tried together: bounds memory
SWEEPS = 100  # a cell that passed the checks is compact after a handful
TIED = 1e-9  # Å; atoms this far outside of a window still count as inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A atoms of F frames, each wrapped into the compact cell of its frame. Lattice vectors are zero along axes without a period."""

    numbers: NDArray[np.uint8]  # (A,)
    frame: NDArray[np.int64]  # (A,) which frame an atom is of, ascending
    home: F64  # (A, 3) Å
    cell: F64  # (F, 3, 3) Å
    reciprocal: F64  # (F, 3, 3) 1/Å, columns are b_k with a_j b_k = 1 where j = k, else 0

    @staticmethod
    def of(frames: Frames) -> Points:
        """Take the points of frames; the same crystal in another cell has the same points, shifted by lattice vectors."""
        cell = compact(np.asarray(frames.cell, np.float64) * frames.pbc[:, :, None])
        reciprocal = (
            np.asarray(np.linalg.pinv(cell), np.float64) * np.asarray(cell.any(axis=2))[:, None, :]
        )  # no rounding along axes without a period
        frame = np.repeat(np.arange(len(frames)), frames.natoms)
        positions = np.asarray(frames.positions, np.float64)
        fraction = np.einsum("ax,axk->ak", positions, reciprocal[frame])
        home = positions - np.einsum("ak,akx->ax", np.floor(fraction), cell[frame])
        return Points(numbers=frames.numbers, frame=frame, home=home, cell=cell, reciprocal=reciprocal)

    @staticmethod
    def of_one(frame: Frame) -> Points:
        """Take the points of a single frame."""
        return Points.of(Frames.from_list([frame]))

    def images(self, limit: float) -> tuple[NDArray[np.int64], F64]:
        """Return (row, position) of the atoms and of all images within `limit`, Å, of some point of the compact cell."""
        window = limit * np.linalg.norm(self.reciprocal, axis=1) + TIED * (self.cell != 0).any(axis=2)  # (F, 3), in cells
        steps = np.ceil(window).astype(int)
        rows, positions = [], []
        for reach in np.unique(steps, axis=0):  # frames whose images are the same multiples of their vectors
            atoms = np.flatnonzero((steps == reach).all(axis=1)[self.frame])
            shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
            for some in _split(atoms, len(shifts)):
                row, position = self._shifted(some, shifts, window)
                rows.append(row)
                positions.append(position)
        return np.concatenate(rows), np.concatenate(positions)

    def _shifted(self, atoms: NDArray[np.int64], shifts: NDArray[np.int64], window: F64) -> tuple[NDArray[np.int64], F64]:
        """Shift each atom by each of the lattice vectors `shifts` (S, 3); keep what lies in its frame's window around the cell."""
        frame = self.frame[atoms]
        fraction = np.einsum("ax,axk->ak", self.home[atoms], self.reciprocal[frame])
        out = window[frame] + 1e-12
        first, last = (-out - fraction)[:, None], (1 + out - fraction)[:, None]
        atom, shift = np.nonzero(((shifts >= first) & (shifts <= last)).all(axis=2))
        moved = np.einsum("ik,ikx->ix", shifts[shift].astype(float), self.cell[frame[atom]])
        return atoms[atom], self.home[atoms[atom]] + moved


def compact(cells: F64) -> F64:
    """Make lattice vectors short and nearly square (pairwise reduction). (F, 3, 3) Å, rows are vectors, zeros where no period."""
    cells = cells.copy()
    for _ in range(SWEEPS):
        moved = False
        for i, j in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)):
            length2 = (cells[:, j] ** 2).sum(axis=1)
            overlap = np.divide((cells[:, i] * cells[:, j]).sum(axis=1), length2, out=np.zeros(len(cells)), where=length2 > 0)
            times = np.round(overlap - np.copysign(TIED, overlap))  # a tie stays as it is, or rounding errors would go round for ever
            cells[:, i] -= times[:, None] * cells[:, j]
            moved |= bool(times.any())
        if not moved:
            break
    return cells


def _split(atoms: NDArray[np.int64], shifts: int) -> Iterator[NDArray[np.int64]]:
    some = max(1, FRACTIONS_AT_ONCE // shifts)
    return (atoms[i : i + some] for i in range(0, len(atoms), some))
