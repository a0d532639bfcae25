"""Phonons: forces on displaced supercells -> frequencies, their density and the heat capacity, by phonopy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamdata.errors import DataError, need

from .crystal import repeat_to

if TYPE_CHECKING:
    from ase import Atoms

title = "phonons"
DISPLACEMENT, HEIGHT = 0.015, 12.0  # Å; as matcalc, and faces of a supercell so far apart at least
MESH = (
    40.0  # Å: a mesh in reciprocal space has as many points as cells reach so far, and an even number, so that it has the faces of the zone
)
IMAGINARY = -0.05  # THz: below it a mode is imaginary; above, it is the acoustic ones at their zero
STILL = 1e-3  # THz: the acoustic modes at their zero, which have no heat of their own
ROOM, HOTTEST = 300.0, 1000.0  # K


def measure(crystal: Atoms, calculator: Any) -> dict[str, Any]:
    """Harmonic frequencies in THz, an imaginary one as a negative number, and at 300 K what they say of heat, in J/(K mol of atoms).

    Where a mode is imaginary the crystal is no minimum, and there are no thermal properties. Raises DataError where no atom is pulled back.
    """
    need("phonopy", extra="properties")
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    given: Any = crystal
    times = repeat_to(crystal, height=HEIGHT)
    cell = PhonopyAtoms(symbols=given.get_chemical_symbols(), cell=given.cell[:], scaled_positions=given.get_scaled_positions())
    phonon: Any = Phonopy(cell, supercell_matrix=np.diag(times), primitive_matrix="P")
    phonon.generate_displacements(distance=DISPLACEMENT)
    phonon.forces = [_forces(one, calculator) for one in phonon.supercells_with_displacements]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    phonon.run_mesh([2 * -(-times // 2) for times in repeat_to(crystal, height=MESH)], is_gamma_center=True)
    frequencies, weights = phonon.mesh.frequencies, phonon.mesh.weights
    if np.abs(frequencies).max() < STILL:
        raise DataError("no displaced atom is pulled back: all frequencies are zero")
    phonon.run_total_dos()
    share = float((weights[:, None] * (frequencies < IMAGINARY)).sum() / weights.sum() / frequencies.shape[1])
    found = {
        "supercell": list(times),
        "displacements": len(phonon.forces),
        "highest_thz": float(frequencies.max()),
        "lowest_thz": float(frequencies.min()),
        "imaginary_share": share,
        "mean_square_thz2": float((weights[:, None] * frequencies * np.abs(frequencies)).sum() / weights.sum() / frequencies.shape[1]),
        "density": {"frequencies_thz": phonon.total_dos.frequency_points.tolist(), "states_per_thz": phonon.total_dos.dos.tolist()},
    }
    return found | (_thermal(phonon, atoms=len(given)) if share == 0 else {})


def _forces(supercell: Any, calculator: Any) -> Any:
    from ase import Atoms as AseAtoms

    atoms: Any = AseAtoms(supercell.symbols, cell=supercell.cell, scaled_positions=supercell.scaled_positions, pbc=True)
    atoms.calc = calculator
    return atoms.get_forces()


def _thermal(phonon: Any, *, atoms: int) -> dict[str, Any]:
    """Of a mole of atoms."""
    phonon.run_thermal_properties(t_min=0.0, t_max=HOTTEST, t_step=10.0, cutoff_frequency=STILL)
    found = phonon.thermal_properties
    room = int(np.argmin(np.abs(found.temperatures - ROOM)))
    return {
        "heat_capacity_300k_j_per_k_mol": float(found.heat_capacity[room] / atoms),
        "entropy_300k_j_per_k_mol": float(found.entropy[room] / atoms),
        "free_energy_300k_kj_per_mol": float(found.free_energy[room] / atoms),
        "zero_point_kj_per_mol": float(found.free_energy[0] / atoms),
        "heat_capacity": {"temperatures_k": found.temperatures.tolist(), "j_per_k_mol": (found.heat_capacity / atoms).tolist()},
    }


def draw(axis: Any, found: dict[str, Any]) -> None:
    """The density of states, and the heat capacity in its title."""
    density = found["density"]
    axis.fill_between(density["frequencies_thz"], density["states_per_thz"], color="tab:blue", alpha=0.35, linewidth=0)
    axis.plot(density["frequencies_thz"], density["states_per_thz"], color="tab:blue", linewidth=1)
    room = found.get("heat_capacity_300k_j_per_k_mol")
    words = f"{found['imaginary_share']:.1%} of modes imaginary" if room is None else f"C$_V$(300 K) = {room:.2f} J/(K mol)"
    axis.set(xlabel="frequency, THz", ylabel="density of states, 1/THz", title=words)
