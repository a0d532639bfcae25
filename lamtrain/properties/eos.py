"""Equation of state: energies at volumes within 10% -> volume at rest, bulk modulus and its slope, by Birch and Murnaghan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamdata.errors import DataError

from .crystal import LOOSE, relax

if TYPE_CHECKING:
    from ase import Atoms

title = "equation of state"
POINTS, RANGE = 11, 0.10


def measure(crystal: Atoms, calculator: Any) -> dict[str, Any]:
    """Energies by atom at 11 volumes within 10%, shape and positions relaxed at each, fitted (Phys. Rev. 71, 809, 1947).

    Raises DataError where a relaxation does not end, or the energies have no minimum among the volumes.
    """
    from ase import eos
    from ase.units import GPa

    given: Any = crystal
    equation_of_state: Any = eos.EquationOfState
    strained: Any
    volumes, energies = [], []
    for ratio in np.linspace(1 - RANGE, 1 + RANGE, POINTS):
        strained = given.copy()
        strained.set_cell(given.cell * ratio ** (1 / 3), scale_atoms=True)
        strained = relax(strained, calculator, cell="volume", fmax=LOOSE)
        volumes.append(float(strained.get_volume() / len(given)))
        energies.append(float(strained.get_potential_energy() / len(given)))
    if np.argmin(energies) in (0, POINTS - 1):
        raise DataError(f"energies have no minimum within {RANGE:.0%} of the volume at rest")
    fit = equation_of_state(volumes, energies, eos="birchmurnaghan")
    volume, energy, modulus = fit.fit(warn=False)
    left = np.array(energies) - np.array([_energy_at(v, fit.eos_parameters) for v in volumes])
    return {
        "volume_angstrom3_per_atom": float(volume),
        "energy_ev_per_atom": float(energy),
        "bulk_modulus_gpa": float(modulus / GPa),
        "bulk_modulus_slope": float(fit.eos_parameters[2]),
        "residual_ev_per_atom": float(np.sqrt(np.mean(left**2))),
        "volumes_angstrom3_per_atom": volumes,
        "energies_ev_per_atom": energies,
    }


def _energy_at(volume: Any, parameters: Any) -> Any:
    from ase import eos

    curve: Any = eos.birchmurnaghan
    return curve(volume, *parameters)


def draw(axis: Any, found: dict[str, Any]) -> None:
    """The energies, and the curve."""
    from ase.units import GPa

    volumes, energies = np.array(found["volumes_angstrom3_per_atom"]), np.array(found["energies_ev_per_atom"])
    names = ("energy_ev_per_atom", "bulk_modulus_gpa", "bulk_modulus_slope", "volume_angstrom3_per_atom")
    parameters = [found[name] * (GPa if name == "bulk_modulus_gpa" else 1.0) for name in names]
    fine = np.linspace(volumes.min(), volumes.max(), 200)
    axis.plot(fine, _energy_at(fine, parameters) - parameters[0], color="0.6", linewidth=1)
    axis.plot(volumes, energies - parameters[0], "o", markersize=4, color="tab:blue")
    axis.set(xlabel="volume, Å$^3$/atom", ylabel="energy above the minimum, eV/atom", title=f"B = {found['bulk_modulus_gpa']:.1f} GPa")
