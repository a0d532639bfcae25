"""Frame: one structure with its labels; Rejection: why there is no frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

F64 = NDArray[np.float64]
LABELS = ("energy", "forces", "virial")
MAX_ATOMS = 1_000_000  # more in one frame is a broken count, not a structure
LARGEST = 32_767  # charge or multiplicity: a store keeps them in two bytes


def volume_of(cell: F64) -> float:
    """Å^3, of lattice vectors as rows (3, 3) Å."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = np.asarray(cell, np.float64).tolist()  # in NumPy it takes ten times as long
    return float(abs(ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One structure and what was computed for it. A = atoms. A missing label is `None`, never zero or NaN.

    Energies are total energies as computed; references are fitted beside the store, never subtracted in it.
    """

    numbers: NDArray[np.uint8]  # (A,) atomic numbers, 1..118
    positions: F64  # (A, 3) Å
    cell: F64 | None = None  # (3, 3) Å, rows are the lattice vectors; None for a molecule
    pbc: tuple[bool, bool, bool] = (False, False, False)
    energy: float | None = None  # eV
    forces: F64 | None = None  # (A, 3) eV/Å
    virial: F64 | None = None  # (3, 3) eV, -V x (ASE stress): positive trace when compressed
    charge: int = 0  # e
    multiplicity: int | None = None  # 2S + 1
    weight: float = 1.0  # of its labels in a loss: at least 0
    converged: bool | None = None  # electronic self-consistency; None when the source does not say
    group: str = ""  # material or trajectory: a group never straddles a split
    origin: str = ""  # "file#index": where to look when this frame is suspect
    split: str = ""  # what the source calls its split, by the key that the card names; "" where it says nothing
    isolated: bool = False  # a free atom by the source's own mark: its energy is a reference
    info: Mapping[str, str] = field(default_factory=dict)  # what the source says under the keys that its card keeps
    left_out: tuple[str, ...] = ()  # labels that stand in the source and not here, each as "label: why"; not stored

    def __post_init__(self) -> None:
        atoms = len(self.numbers)
        for name, value, shape in (
            ("positions", self.positions, (atoms, 3)),
            ("forces", self.forces, (atoms, 3)),
            ("cell", self.cell, (3, 3)),
            ("virial", self.virial, (3, 3)),
        ):
            if value is not None and np.shape(value) != shape:
                raise DataError(f"{name} has shape {np.shape(value)}, expected {shape}", where=self.origin)
        if atoms == 0:
            raise DataError("no atoms", where=self.origin)
        if any(self.pbc) and self.cell is None:
            raise DataError("periodic but without a cell", where=self.origin)
        if not 0.0 <= self.weight < math.inf:
            raise DataError(f"weight {self.weight}, expected a number that is not negative", where=self.origin)
        if abs(self.charge) > LARGEST or (self.multiplicity or 0) > LARGEST:
            raise DataError(f"charge {self.charge}, multiplicity {self.multiplicity}", where=self.origin)

    @property
    def volume(self) -> float | None:
        """Cell volume in Å^3; `None` for a molecule."""
        return None if self.cell is None else volume_of(self.cell)

    def bare(self) -> Frame:
        """The structure without its labels."""
        return replace(self, energy=None, forces=None, virial=None)

    def to_ase(self) -> Atoms:
        """Return `ase.Atoms`, labels in a `SinglePointCalculator` (stress in eV/Å^3, ASE's sign), and what is kept of the source in `info`."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=dict(self.info))
        labels: dict[str, object] = {}
        if self.energy is not None:
            labels["energy"] = self.energy
        if self.forces is not None:
            labels["forces"] = self.forces
        if self.virial is not None and self.volume:
            stress = -self.virial / self.volume
            labels["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        if labels:
            calculator: Any = SinglePointCalculator
            atoms.calc = calculator(atoms, **labels)
        return atoms


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A frame that is not stored: where it was, why, and the value that decided. A row of `rejected.jsonl`."""

    origin: str  # "file#index"
    reason: str  # one word of a fixed list where a check decided ("unconverged", "max_force", ...), else a short sentence
    value: object = None
