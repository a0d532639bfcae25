"""A structure and a calculator -> the relaxed primitive crystal that properties are of."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamdata.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

TIGHT, LOOSE = 1e-4, 1e-3  # eV/Å, and eV by atom for the cell: 1e-4 eV leaves some MPa
STEPS = 500
FAR = 2.0  # times the volume, or a part of it: no relaxation of a crystal goes so far
SAME = 1e-2  # Å by which positions may be off where a symmetry is looked for, after a relaxation


def relax(atoms: Atoms, calculator: Any, *, cell: Literal["free", "volume", "fixed"] = "free", fmax: float = TIGHT) -> Atoms:
    """A copy at rest: positions, and the cell where it is free, or its shape at its volume. The copy has the calculator.

    Forces on atoms and on the cell are both below `fmax`: a crystal whose atoms are held by symmetry is not at rest before its cell is.
    Raises DataError where that is not reached, or the cell is no longer what it was: energies without a minimum end in a point or in a gas.
    """
    from ase import filters, optimize

    given: Any = atoms
    moved: Any = given.copy()
    moved.calc = calculator
    free_cell: Any = filters.FrechetCellFilter
    optimizer: Any = optimize.LBFGS
    target = moved if cell == "fixed" else free_cell(moved, constant_volume=cell == "volume")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="logm result may be inaccurate")  # of scipy, at 1e-12
        done = optimizer(target, logfile=None, maxstep=0.1).run(fmax=fmax, steps=STEPS)
    if not done:
        worst = float(np.sqrt(np.square(target.get_forces()).sum(1).max()))
        raise DataError(f"not at rest after {STEPS} steps of relaxation: largest force {worst:.2g}, wanted {fmax:g} eV/Å")
    ratio = abs(moved.cell.volume / given.cell.volume)
    if not 1 / FAR < ratio < FAR:
        raise DataError(f"the relaxation changed the volume {ratio:.2g} times")
    return moved  # type: ignore[no-any-return]


def find_crystal(atoms: Atoms, calculator: Any) -> Atoms:
    """The structure at rest, its primitive cell in the standard axes of its lattice: of a cubic crystal, those of the cube.

    Raises DataError where it is not periodic in all directions, or does not come to rest.
    """
    if not all(atoms.pbc):
        raise DataError("a crystal is periodic in all directions", hint="give one with --structures")
    return relax(_primitive(relax(atoms, calculator)), calculator)


def _primitive(atoms: Atoms) -> Atoms:
    import spglib
    from ase import Atoms as AseAtoms

    given: Any = atoms
    found = spglib.standardize_cell((given.cell[:], given.get_scaled_positions(), given.numbers), to_primitive=True, symprec=SAME)
    if found is None:
        return atoms
    cell, positions, numbers = found
    return AseAtoms(numbers, cell=cell, scaled_positions=positions, pbc=True)


def describe(crystal: Atoms) -> dict[str, Any]:
    """What it is: formula, space group, lattice of the conventional cell, volume and energy by atom."""
    import spglib

    one: Any = crystal
    lengths, angles = one.cell.lengths(), one.cell.angles()
    about = spglib.get_symmetry_dataset((one.cell[:], one.get_scaled_positions(), one.numbers), symprec=SAME)
    group = None
    if about is not None:
        group = about.international
        lengths, angles = (part for part in np.split(_cellpar(about.std_lattice), 2))
    return {
        "formula": one.get_chemical_formula(),
        "space_group": group,
        "lengths_angstrom": [float(x) for x in lengths],
        "angles_degree": [float(x) for x in angles],
        "volume_angstrom3_per_atom": float(one.get_volume() / len(one)),
        "energy_ev_per_atom": float(one.get_potential_energy() / len(one)),
    }


def _cellpar(cell: Any) -> Any:
    from ase import geometry

    parameters: Any = geometry.cell_to_cellpar
    return parameters(cell)


def repeat_to(crystal: Atoms, *, height: float, atoms: int = 1) -> tuple[int, int, int]:
    """How often to repeat a cell so that opposite faces are `height` Å apart at least, and it holds so many atoms at least."""
    one: Any = crystal
    heights = one.get_volume() / np.linalg.norm(np.cross(one.cell[[1, 2, 0]], one.cell[[2, 0, 1]]), axis=1)
    times = np.ceil(height / heights - 1e-6).astype(int)
    while len(one) * times.prod() < atoms:
        times[np.argmin(times * heights)] += 1
    return int(times[0]), int(times[1]), int(times[2])
