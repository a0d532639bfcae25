"""Frames: many frames as flat arrays, the contiguous ragged arrays of the CF conventions (section 9.3.3).

This is what the store decodes into, the stream yields and a trainer collates. F = frames, A = all their atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from .frame import Frame

MASKED = 0  # the atomic number that stands for "type hidden": no element has it

ATOM_FIELDS = ("numbers", "positions", "forces", "noise", "noised", "clean_numbers")
FRAME_FIELDS = (
    "natoms", "cell", "pbc", "energy", "virial", "has_energy", "has_forces", "has_virial", "charge", "multiplicity",
    "shortest", "head", "dataset", "index", "epoch",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Frames:
    """F frames with A atoms in all; frame f owns atoms `starts[f]:starts[f] + natoms[f]`.

    Labels that a frame lacks hold zeros, and their `has_` flag says so: read the flag, never the value.
    Floating arrays are float64 from a lossless store, float32 from a fast one.
    """

    numbers: NDArray[np.uint8]  # (A,) atomic numbers; MASKED where the type is hidden
    positions: NDArray[np.floating]  # (A, 3) Å
    natoms: NDArray[np.int32]  # (F,)
    cell: NDArray[np.floating]  # (F, 3, 3) Å, rows are lattice vectors; zeros for a molecule
    pbc: NDArray[np.bool_]  # (F, 3)
    energy: NDArray[np.float64]  # (F,) eV
    forces: NDArray[np.floating]  # (A, 3) eV/Å
    virial: NDArray[np.floating]  # (F, 3, 3) eV
    has_energy: NDArray[np.bool_]  # (F,)
    has_forces: NDArray[np.bool_]  # (F,)
    has_virial: NDArray[np.bool_]  # (F,)
    charge: NDArray[np.int16]  # (F,) e
    multiplicity: NDArray[np.int16]  # (F,) 2S + 1; 0 when not known
    shortest: NDArray[np.float32]  # (F,) Å, shortest distance between two atoms, images included; inf for a lone atom
    head: NDArray[np.int32]  # (F,) which head of the mixture the frame is for; 0 outside a mixture
    dataset: NDArray[np.uint64]  # (F,) hash of the dataset's name: part of the key of its noise
    index: NDArray[np.int64]  # (F,) row in its dataset
    epoch: NDArray[np.int64]  # (F,) how many times the stream of its dataset had been through
    noise: NDArray[np.floating] | None = None  # (A, 3) Å, the displacement that was added: clean = positions - noise
    noised: NDArray[np.bool_] | None = None  # (A,) which atoms were displaced
    clean_numbers: NDArray[np.uint8] | None = None  # (A,) atomic numbers before masking

    def __len__(self) -> int:
        return len(self.natoms)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(F + 1,) where each frame's atoms start, and the end."""
        starts = np.zeros(len(self.natoms) + 1, np.int64)
        np.cumsum(self.natoms, out=starts[1:])
        return starts

    def part(self, start: int, stop: int) -> Frames:
        """Frames `start:stop`, as views."""
        a, b = int(self.natoms[:start].sum()), int(self.natoms[:stop].sum())
        return self.cut(start, stop, a, b)

    def cut(self, start: int, stop: int, first_atom: int, last_atom: int) -> Frames:
        """Frames `start:stop`, which own atoms `first_atom:last_atom`, as views."""
        values = {}
        for name in FRAME_FIELDS:
            values[name] = getattr(self, name)[start:stop]
        for name in ATOM_FIELDS:
            value = getattr(self, name)
            values[name] = None if value is None else value[first_atom:last_atom]
        return Frames(**values)

    def take(self, order: NDArray[np.integer]) -> Frames:
        """Frames in the given order, copied."""
        starts, natoms = self.starts, self.natoms[order]
        atoms = np.repeat(starts[order] - np.concatenate([[0], np.cumsum(natoms)[:-1]]), natoms) + np.arange(natoms.sum())
        values = {name: getattr(self, name)[order] for name in FRAME_FIELDS}
        for name in ATOM_FIELDS:
            value = getattr(self, name)
            values[name] = None if value is None else value[atoms]
        return Frames(**values)

    def with_(self, **changes) -> Frames:
        """A copy with some arrays replaced."""
        return replace(self, **changes)

    @staticmethod
    def concatenate(parts: Sequence[Frames]) -> Frames:
        """One after the other; where only some parts carry noise or masks, the others are clean."""
        values = {}
        for field in fields(Frames):
            arrays = [getattr(part, field.name) for part in parts]
            if all(array is None for array in arrays):
                values[field.name] = None
                continue
            values[field.name] = np.concatenate([_clean(part, field.name) if a is None else a for part, a in zip(parts, arrays)])
        return Frames(**values)

    @staticmethod
    def from_list(frames: Iterable[Frame], *, shortest: Sequence[float] | None = None) -> Frames:
        """Stack single frames (float64)."""
        frames = list(frames)
        zero3, counts = np.zeros((3, 3)), np.array([len(f.numbers) for f in frames], np.int32)
        n = len(frames)
        return Frames(
            numbers=np.concatenate([np.asarray(f.numbers, np.uint8) for f in frames]),
            positions=np.concatenate([f.positions for f in frames]),
            natoms=counts,
            cell=np.array([zero3 if f.cell is None else f.cell for f in frames]),
            pbc=np.array([f.pbc for f in frames], bool),
            energy=np.array([0.0 if f.energy is None else f.energy for f in frames]),
            forces=np.concatenate([np.zeros((len(f.numbers), 3)) if f.forces is None else f.forces for f in frames]),
            virial=np.array([zero3 if f.virial is None else f.virial for f in frames]),
            has_energy=np.array([f.energy is not None for f in frames]),
            has_forces=np.array([f.forces is not None for f in frames]),
            has_virial=np.array([f.virial is not None for f in frames]),
            charge=np.array([f.charge for f in frames], np.int16),
            multiplicity=np.array([f.multiplicity or 0 for f in frames], np.int16),
            shortest=np.full(n, np.nan, np.float32) if shortest is None else np.asarray(shortest, np.float32),
            head=np.zeros(n, np.int32),
            dataset=np.zeros(n, np.uint64),
            index=np.arange(n, dtype=np.int64),
            epoch=np.zeros(n, np.int64),
        )

    def __iter__(self) -> Iterator[Frame]:
        """Single frames, for a look at a few; group and origin live in the store, not in a stream."""
        starts = self.starts
        for f in range(len(self)):
            atoms = slice(starts[f], starts[f + 1])
            yield Frame(
                numbers=self.numbers[atoms],
                positions=np.asarray(self.positions[atoms], np.float64),
                cell=np.asarray(self.cell[f], np.float64) if self.cell[f].any() else None,
                pbc=tuple(bool(p) for p in self.pbc[f]),
                energy=float(self.energy[f]) if self.has_energy[f] else None,
                forces=np.asarray(self.forces[atoms], np.float64) if self.has_forces[f] else None,
                virial=np.asarray(self.virial[f], np.float64) if self.has_virial[f] else None,
                charge=int(self.charge[f]),
                multiplicity=int(self.multiplicity[f]) or None,
            )


def _clean(part: Frames, name: str) -> np.ndarray:
    """What an unset augmentation array stands for."""
    if name == "noise":
        return np.zeros_like(part.positions)
    if name == "noised":
        return np.zeros(len(part.numbers), bool)
    return part.numbers
